"""What work belongs to goes with it, into tasks and threads, and to nobody else's."""

import asyncio
from collections.abc import Iterable
from typing import Any

from contracts import topology
from contracts.registry import AgentMail
from contracts.topology import Queue
from services.runtime.background import in_background
from services.runtime.bus.base import Frame
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.correlation import (
    add_to_hand,
    current_correlation,
    current_service,
    holding,
    in_hand,
    in_service,
    take_in_hand,
)
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox, Received, Route, Service
from tests.support.log_capture import captured_lines


async def seen() -> dict[str, Any]:
    return dict(in_hand())


async def test_what_is_in_hand_is_of_one_piece_of_work_alone() -> None:
    assert (current_service(), current_correlation()) == ("", "")
    in_service("edge")
    with holding(correlation_id="c1", execution_id="e1", step="", attempt=0):
        assert dict(in_hand()) == {"service": "edge", "correlation_id": "c1", "execution_id": "e1"}
        with holding("orchestrator", correlation_id="c2"):
            assert dict(in_hand()) == {"service": "orchestrator", "correlation_id": "c2"}
        add_to_hand(agent_id="a")
        assert (in_hand()["agent_id"], current_correlation()) == ("a", "c1")
        assert await asyncio.create_task(seen()) == await asyncio.to_thread(lambda: dict(in_hand())) == dict(in_hand())
    assert dict(in_hand()) == {"service": "edge"}
    take_in_hand(correlation_id="c3")
    assert dict(in_hand()) == {"service": "edge", "correlation_id": "c3"}
    in_service("registry")
    assert dict(in_hand()) == {"service": "registry"}


async def test_what_goes_on_in_the_background_belongs_to_its_service_and_to_no_request() -> None:
    found: list[dict[str, Any]] = []

    async def look() -> None:
        found.append(dict(in_hand()))

    with holding("registry", correlation_id="c1", execution_id="e1"):
        await in_background(look(), "look")
    assert found == [{"service": "registry"}]


class Two:
    """Two services of one process: the first sends, the second sees what is in its hand."""

    def __init__(self) -> None:
        broker = DirectBroker()
        self.buses = DirectBus(broker), DirectBus(broker)
        self.seen: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        queue = Queue("office", (topology.agent_mail("clerk"),))
        self.sender = Service("sender", self.buses[0])
        self.taker = Service("taker", self.buses[1], routes=[Route(queue, handlers={AgentMail: self._take})])

    async def _take(self, received: Received[AgentMail]) -> Iterable[Outgoing[Any]]:
        self.seen.put_nowait(dict(in_hand()))
        return ()

    async def send(self, **more: Any) -> None:
        mail = AgentMail(agent_id="clerk", body={})
        await Outbox(self.buses[0], "sender").send([Outgoing(mail, message_id="m1", **more)])


async def test_a_message_is_in_the_hand_of_who_takes_it_and_not_of_who_sent_it() -> None:
    two = Two()
    await two.sender.start()
    await two.taker.start()
    with holding("sender", correlation_id="of the sender", execution_id="of the sender", step="s"):
        await two.send(correlation_id="c1")
        await two.send()
    expected = {"service": "taker", "agent_id": "clerk"}
    assert await two.seen.get() == {**expected, "correlation_id": "c1"}
    assert await two.seen.get() == {**expected, "correlation_id": "m1"}, "what has no id is called by its own"
    await two.taker.stop()
    await two.sender.stop()


async def test_a_message_that_is_refused_says_which_and_whose() -> None:
    two = Two()
    with captured_lines(level="DEBUG", service="conclave") as lines:
        await two.sender.start()
        await two.taker.start()
        await two.buses[0].publish([Frame(topology.agent_mail("clerk"), b"no message", AgentMail.TYPE, "m0", "c1")])
        await two.send(correlation_id="c2")
        await two.seen.get()
        await two.taker.stop()
        await two.sender.stop()
    (refused,) = [line for line in lines if line["event"] == "message refused"]
    assert {name: refused[name] for name in ("service", "correlation_id", "queue", "message_id", "reason")} == {
        "service": "taker",
        "correlation_id": "c1",
        "queue": "office",
        "message_id": "m0",
        "reason": "contract",
    }
    (taken,) = [line for line in lines if line["event"] == "message taken"]
    assert (taken["service"], taken["correlation_id"], taken["type"]) == ("taker", "c2", "agent.mail.v1")
    assert [(line["event"], line["service"]) for line in lines if line["event"].startswith("service")] == [
        ("service started", "sender"),
        ("service started", "taker"),
        ("service stopped", "taker"),
        ("service stopped", "sender"),
    ]
