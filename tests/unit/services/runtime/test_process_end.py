"""The end of a process's services: each gets its chance, and none keeps the process."""

import asyncio

from structlog.testing import capture_logs

from contracts import topology
from contracts.registry import AgentMail
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.envelope_codec import Outgoing
from services.runtime.process import _stop_all
from services.runtime.service import Outbox, Received, Route, Service


class Part:
    """A resource that notes its end, or fails at it, or never comes to it."""

    def __init__(self, end: str = "well") -> None:
        self.stopped = False
        self._end = end

    async def start(self) -> None: ...

    async def stop(self) -> None:
        if self._end == "never":
            await asyncio.Event().wait()
        if self._end == "badly":
            raise RuntimeError("broken")
        self.stopped = True


async def started(*parts: Part, broker: DirectBroker | None = None, routes: tuple[Route, ...] = ()) -> Service:
    service = Service("under test", DirectBus(broker or DirectBroker()), routes=routes, resources=parts)
    await service.start()
    return service


async def test_every_service_is_stopped() -> None:
    parts = [Part(), Part()]
    services = [await started(part) for part in parts]
    with capture_logs() as logs:
        await _stop_all(services, 10)
    assert [part.stopped for part in parts] == [True, True]
    assert [service.bus.connected for service in services] == [False, False]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []


async def test_a_part_that_fails_keeps_no_other_from_ending() -> None:
    first, last = Part(), Part()
    service = await started(first, Part("badly"), last)
    with capture_logs() as logs:
        await _stop_all([service], 10)
    assert (first.stopped, last.stopped, service.bus.connected) == (True, True, False)
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (entry["event"], entry["what"]) == ("could not be stopped in good order", "Part.stop")


async def test_what_never_ends_is_cut_off_and_what_it_has_in_hand_goes_back() -> None:
    broker, taken = DirectBroker(), asyncio.Event()
    queue = topology.agent_type_queue("worker")

    async def keep(_: Received[AgentMail]) -> None:
        taken.set()

    stuck = await started(Part("never"), broker=broker, routes=(Route(queue, intakes={AgentMail: keep}),))
    other = await started(part := Part(), broker=broker)
    await Outbox(stuck.bus, "test").send([Outgoing(AgentMail(agent_id="worker", body={}))])
    await taken.wait()
    with capture_logs() as logs:
        await _stop_all([stuck, other], 0.05)
    assert part.stopped
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert entry["ended"] == "under test"
    assert "did not end in time" in entry["event"]
    assert not stuck.bus.connected
    watcher = DirectBus(broker)
    await watcher.start()
    figures = (await watcher.measure([queue]))[queue.name]
    assert (figures.ready, figures.unacked, figures.consumers) == (1, 0, 0)
