"""What the page on signed messages and the example tell a third party, against the real verifier."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from cryptography.exceptions import InvalidSignature

from contracts.execution import StartExecution
from services.runtime.bus.base import Frame
from services.runtime.security.key_files import private_path, trusted_path
from services.runtime.security.principal import SenderKind
from services.runtime.security.replays import REMEMBERED
from services.runtime.security.signatures import CLAIMS, SIGNATURE
from services.runtime.security.verifying import AHEAD, TOGETHER
from tests.support.buses import Inbox, direct_world
from tests.support.signing import add_key, signing_bus

ROOT = Path(__file__).resolve().parents[2]
TO = StartExecution(execution_id="x").address()
BODY = b'{"id": "m-1"}'


def code_of_the_page() -> dict[str, Any]:
    page = (ROOT / "docs" / "message_signing.md").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "message_signing.md", "exec"), found)
    return found


def example() -> Any:
    spec = importlib.util.spec_from_file_location("publish_and_follow", ROOT / "examples" / "publish_and_follow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    add_key(tmp_path, "orchestrator")
    add_key(tmp_path, "shop", SenderKind.CLIENT)
    return tmp_path


async def signer_of(frame: Frame, keys: Path) -> str:
    """Whom a service takes it to be from."""
    world = direct_world()
    service, attacker = signing_bus(world.bus(), keys, "orchestrator"), world.bus()
    inbox = Inbox()
    service.subscribe(world.queue("starts", frame.address), inbox, prefetch=1)
    await service.start()
    await attacker.start()
    await attacker.publish([frame])
    (delivery,) = await inbox.wait_for(1)
    await world.close()
    return str(delivery.signer)


@pytest.mark.parametrize("more", [{}, {"reply_to": "client.1", "correlation_id": "c"}])
async def test_what_the_page_signs_is_taken(keys: Path, more: dict[str, str]) -> None:
    signature = code_of_the_page()["sign"](
        private_path(keys, "shop"),
        BODY,
        message_id="m-1",
        type=StartExecution.TYPE,
        exchange=TO.exchange.value,
        routing_key=TO.key,
        **more,
    )
    frame = Frame(TO, BODY, StartExecution.TYPE, "m-1", headers={SIGNATURE: signature}, **more)  # type: ignore[arg-type]
    assert await signer_of(frame, keys) == "client shop"


async def test_what_the_example_signs_is_taken(keys: Path) -> None:
    message = aio_pika.Message(BODY, type=StartExecution.TYPE, message_id="m-1", reply_to="client.1")
    signature = example().sign(private_path(keys, "shop"), message, to=f"{TO.exchange.value}/{TO.key}")
    frame = Frame(TO, BODY, StartExecution.TYPE, "m-1", reply_to="client.1", headers={SIGNATURE: signature})
    assert await signer_of(frame, keys) == "client shop"


async def test_what_a_service_signs_is_verified_as_the_page_says(keys: Path) -> None:
    world = direct_world()
    service, client, inbox = signing_bus(world.bus(), keys, "orchestrator"), world.bus(), Inbox()
    client.subscribe(world.queue("events", TO), inbox, prefetch=10)
    await client.start()
    await service.start()
    one, two = Frame(TO, BODY, StartExecution.TYPE, "m-1"), Frame(TO, BODY, StartExecution.TYPE, "m-2")
    await service.publish([one])
    await service.publish([one, two])
    verify = code_of_the_page()["verify"]
    alone, first, second = await inbox.wait_for(3)
    assert CLAIMS not in alone.headers
    assert first.headers[SIGNATURE] == second.headers[SIGNATURE]
    for delivery in (alone, first, second):
        signature, claims = delivery.headers[SIGNATURE], delivery.headers.get(CLAIMS)
        signed, name = verify(trusted_path(keys), delivery.body, signature, claims)
        assert (signed["jti"], signed["typ"], name) == (delivery.message_id, StartExecution.TYPE, "orchestrator")
        assert signed["to"] == f"{TO.exchange.value}/{TO.key}"
        with pytest.raises((InvalidSignature, ValueError)):
            verify(trusted_path(keys), delivery.body + b" ", signature, claims)
    forged = first.headers[CLAIMS].replace("m-1", "m-9")
    with pytest.raises(ValueError, match="not one of the messages"):
        verify(trusted_path(keys), BODY, first.headers[SIGNATURE], forged)
    await world.close()


def test_the_page_and_the_code_name_the_same_figures() -> None:
    page = (ROOT / "docs" / "message_signing.md").read_text(encoding="utf-8")
    assert f"{REMEMBERED:,} messages" in page
    assert f"up to {TOGETHER}, share" in page
    assert f"{AHEAD} seconds from now" in page
