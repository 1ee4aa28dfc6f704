"""The driver's errors as the store's."""

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError

from services.runtime.store.base import StoreError, StoreUnavailable, Unstorable
from services.runtime.tls_refusals import tls_refusal

_DUPLICATE_KEY = 11000
_AT_LENGTH = ", Topology Description: "  # what follows is the driver's whole view of its servers

# Codes by which a server says "not now": a primary that steps down or shuts down, a lost member. They are those of
# https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
_NOT_NOW = frozenset({6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Raise the driver's errors as StoreUnavailable (asking again may help) or StoreError (it will not)."""
    try:
        yield
    except ConnectionFailure as error:
        # A refused certificate, too: it may be renewed while nothing else changes.
        raise StoreUnavailable(f"{action}: {tls_refusal(error) or _in_short(error)}") from error
    except PyMongoError as error:
        failure = StoreUnavailable if _may_pass(error) else StoreError
        raise failure(f"{action}: {_in_short(error)}") from error
    except (BSONError, UnicodeEncodeError, OverflowError) as error:
        raise Unstorable(f"{action}: the value cannot be written: {error}") from error


def duplicates(error: BulkWriteError) -> set[int]:
    """Positions, in what was written, of documents whose id was taken; any other fault is raised again.

    A failed write concern says that writes landed but may yet be rolled back, so nothing is known of any of them.
    """
    concern = error.details.get("writeConcernErrors")
    if concern:
        raise StoreUnavailable(f"a write was not confirmed by a majority: {concern[0].get('errmsg')}") from error
    faults = error.details["writeErrors"]
    other = next((fault for fault in faults if fault["code"] != _DUPLICATE_KEY), None)
    if other is not None:
        failure = StoreUnavailable if other["code"] in _NOT_NOW else StoreError
        raise failure(f"a write was refused: {other['errmsg']} (code {other['code']})") from error
    return {fault["index"] for fault in faults}


def _in_short(error: PyMongoError) -> str:
    """Address and reason of each server, which come first."""
    return str(error).partition(_AT_LENGTH)[0]


def _may_pass(error: PyMongoError) -> bool:
    if error.timeout or error.has_error_label("RetryableWriteError"):
        return True
    return isinstance(error, OperationFailure) and error.code in _NOT_NOW
