"""A message as Redis hands it out: whatever stands beside its body, it can be read."""

import json
from typing import Any

import pytest

from services.runtime.bus.delivering import dead_letter
from services.runtime.bus.redis_delivery import RedisDelivery


def delivery(meta: str) -> RedisDelivery:
    head = b"\0".join((b"1-0", b"0", b"conclave.commands", b"agent.create", b"", meta.encode()))
    return RedisDelivery(head, b"{}", Holding())  # type: ignore[arg-type]


class Holding:
    queue_name = "registry"


@pytest.mark.parametrize("value", [None, 5, 1.5, True, ["a"], {"a": "b"}])
def test_headers_that_are_no_text_are_left_out(value: Any) -> None:
    """They would fail whoever reads them, and the message would come again and again."""
    headers = {"conclave-signature": value, "x-conclave-replay-of": value, "fine": "text"}
    found = delivery(json.dumps(["t", "m", "c", "r", headers]))
    assert found.headers == {"fine": "text"}
    assert (found.type, found.message_id) == ("t", "m")
    assert dead_letter(found, found.exchange, "unsigned", "why").headers["fine"] == "text"


@pytest.mark.parametrize("meta", ["", "null", "5", "[]", '["t"]', '["t","m","c","r",5]', "[" * 100_000])
def test_what_is_nothing_of_ours_has_no_type_and_no_headers(meta: str) -> None:
    found = delivery(meta)
    assert (found.type, found.message_id, found.headers) == ("", "", {})
