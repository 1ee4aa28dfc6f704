"""Ids that no broker could carry back are refused when they come, not when they are answered."""

from dataclasses import dataclass
from typing import Any

import pytest

from contracts.envelope import wrap
from contracts.registry import FindAgents
from services.runtime.envelope_codec import MAX_ID_BYTES, UnreadableMessage, decode


@dataclass
class Came:
    body: bytes
    type: str = FindAgents.TYPE
    message_id: str = ""
    queue: str = "registry"
    signer: None = None


def read(**fields: Any) -> Any:
    body = wrap(FindAgents(), sender="s", **fields).model_dump_json().encode()
    return decode(Came(body), {FindAgents.TYPE: FindAgents})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["message_id", "correlation_id"])
def test_an_id_has_255_bytes_at_most(field: str) -> None:
    """AMQP carries no more, and whoever cannot be answered would be tried again without end."""
    longest = "\N{GRINNING FACE}" * (MAX_ID_BYTES // 4)
    assert longest in read(**{field: longest}).model_dump_json()
    assert read(**{field: "a" * 200}).sender == "s"
    with pytest.raises(UnreadableMessage, match="may have 255 bytes") as refused:
        read(**{field: longest + "\N{GRINNING FACE}"})
    assert refused.value.reason == "contract"
