"""Which of the driver's errors mean "not now" and which mean "never"."""

from typing import Any

import pytest
from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DocumentTooLarge,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WTimeoutError,
)

from services.runtime.store.base import StoreError, StoreUnavailable, Unstorable
from services.runtime.store.mongo_errors import duplicates, translated


def bulk(*codes: int, concern: dict[str, Any] | None = None) -> BulkWriteError:
    faults = [{"index": 2 * i, "code": code, "errmsg": f"fault {code}"} for i, code in enumerate(codes)]
    return BulkWriteError({"writeErrors": faults, "writeConcernErrors": [concern] if concern else []})


NOT_NOW = [
    AutoReconnect("gone"),
    NetworkTimeout("slow"),
    NotPrimaryError("stepped down"),
    ServerSelectionTimeoutError("nobody"),
    WaitQueueTimeoutError("crowded"),
    ExecutionTimeout("too long", 50),
    WTimeoutError("no majority", 64),
    OperationFailure("interrupted", 11600),
    OperationFailure("shutting down", 91),
    OperationFailure("labelled", 1, {"errorLabels": ["RetryableWriteError"]}),
]
REFUSED = [
    OperationFailure("not authorized", 13),
    OperationFailure("index options differ", 86),
    ConfigurationError("bad option"),
]
NEVER = [
    InvalidDocument("cannot encode"),
    DocumentTooLarge("17 MB"),
    OverflowError("more than 64 bits"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
]


@pytest.mark.parametrize("error", NOT_NOW, ids=lambda error: f"{type(error).__name__}-{error}")
def test_what_may_pass_is_unavailability(error: Exception) -> None:
    with pytest.raises(StoreUnavailable, match="read log: ") as raised, translated("read log"):
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: f"{type(error).__name__}-{error}")
def test_what_asking_again_will_not_help_is_an_error(error: Exception) -> None:
    with pytest.raises(StoreError, match="read log: ") as raised, translated("read log"):
        raise error
    assert type(raised.value) is StoreError


@pytest.mark.parametrize("error", NEVER, ids=lambda error: type(error).__name__)
def test_a_value_that_can_never_be_written_is_told_apart(error: Exception) -> None:
    with pytest.raises(Unstorable, match="append: ") as raised, translated("append"):
        raise error
    assert type(raised.value) is Unstorable


@pytest.mark.parametrize("error", [KeyError("ours"), StoreUnavailable("already told")], ids=["bug", "told"])
def test_what_is_not_the_drivers_is_left_alone(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, translated("read log"):
        raise error
    assert raised.value is error


def test_taken_ids_are_told_by_position() -> None:
    assert duplicates(bulk(11000, 11000, 11000)) == {0, 2, 4}


def test_any_other_fault_of_a_bulk_is_raised() -> None:
    with pytest.raises(StoreError, match=r"fault 121 \(code 121\)") as raised:
        duplicates(bulk(11000, 121))
    assert type(raised.value) is StoreError
    with pytest.raises(StoreUnavailable, match="fault 189"):
        duplicates(bulk(11000, 189))


def test_nothing_is_known_of_writes_that_no_majority_confirmed() -> None:
    with pytest.raises(StoreUnavailable, match="not confirmed by a majority: waiting for replication timed out"):
        duplicates(bulk(11000, concern={"code": 64, "errmsg": "waiting for replication timed out"}))


def test_the_drivers_view_of_all_its_servers_is_left_out() -> None:
    text = "db:27017: [Errno 111] Connection refused (configured timeouts: connectTimeoutMS: 20000.0ms), Timeout: 5.0s"
    whole = ServerSelectionTimeoutError(f"{text}, Topology Description: <TopologyDescription id: 1, servers: [...]>")
    with pytest.raises(StoreUnavailable) as raised, translated("read log"):
        raise whole
    assert str(raised.value) == f"read log: {text}"
