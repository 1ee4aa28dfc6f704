"""What a request is called: idempotency keys, and the execution ids made of them."""

import re

import pytest

from contracts.execution import EXECUTION_ID_PATTERN
from services.edge.dependencies import execution_id_for, idempotency_key
from services.edge.problems import Problem


def test_the_same_key_of_the_same_client_names_the_same_execution() -> None:
    assert execution_id_for("ann", "key-1") == execution_id_for("ann", "key-1")


def test_other_keys_and_other_clients_name_other_executions() -> None:
    named = {
        execution_id_for(*pair) for pair in [("ann", "1"), ("ann", "2"), ("bob", "1"), ("ann1", "2"), ("a", "nn2")]
    }
    assert len(named) == 5


def test_without_a_key_every_execution_is_new() -> None:
    assert len({execution_id_for("ann", None) for _ in range(100)}) == 100


@pytest.mark.parametrize("key", [None, "k", "x" * 255])
def test_the_id_fits_its_contract(key: str | None) -> None:
    assert re.match(EXECUTION_ID_PATTERN, execution_id_for("anonymous", key))


def test_the_derivation_is_pinned() -> None:
    """A client that repeats a request after an upgrade must reach the execution it started before."""
    assert execution_id_for("anonymous", "key") == "exec-" + PINNED


@pytest.mark.parametrize(
    ("given", "key"),
    [(None, None), ("abc", "abc"), ('"abc"', "abc"), ("  abc ", "abc"), ('"', '"'), ("x" * 255, "x" * 255)],
)
async def test_keys_come_with_or_without_quotes(given: str | None, key: str | None) -> None:
    assert await idempotency_key(given) == key


@pytest.mark.parametrize("given", ["", "   ", '""', "x" * 256, "schlüssel", "a\tb"])
async def test_bad_keys_are_refused(given: str) -> None:
    with pytest.raises(Problem, match="1 to 255 printable ASCII") as raised:
        await idempotency_key(given)
    assert raised.value.status == 400


PINNED = "9c0f6038a9bc887877458fe1b832c139"
