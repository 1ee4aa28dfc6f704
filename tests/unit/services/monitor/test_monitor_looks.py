"""Looks of the monitor over stores and brokers that are there, away, or late."""

import asyncio
from typing import Any

from contracts import topology
from contracts.history import ExecutionStatus, Header, LogEntry, StepError, StepFailed
from contracts.monitoring_health import HealthStatus
from services.monitor.ending_rates import EndingRates
from services.monitor.findings import status_of
from services.monitor.pace import Pace
from services.monitor.reports import Reports
from services.monitor.service_health import EXPECTED
from services.monitor.store_watch import StoreWatch
from services.monitor.watching import Watch
from services.monitor.windows import Windows
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.store.base import StoreUnavailable, Unreadable
from services.runtime.telemetry.monitor_metrics import MonitorMetrics
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.buses import Inbox
from tests.support.memory_store import MemoryStore
from tests.support.process_reports import Clock, report

START = 1_800_000_000.0


class Monitoring:
    """A watch whose clocks stand until they are turned, on a broker with every queue of the services, each served."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.clock = Clock(START)
        self.listening = asyncio.Event()
        self.store = MemoryStore()
        self.bus = DirectBus(DirectBroker())
        self.telemetry = Telemetry()
        windows = Windows(self.clock)
        self.reports = Reports(windows, self.clock, self.clock)
        pace = pace or Pace()
        self.rates = EndingRates(pace.recent, pace.usual)
        self.watch = Watch(
            self.bus,
            StoreWatch(self.store, pace, open_limit=3, clock=self.clock),
            self.reports,
            windows,
            self.rates,
            self.telemetry.metrics(MonitorMetrics),
            pace,
            open_limit=3,
            listening=self.listening,
            clock=self.clock,
        )

    async def start(self) -> None:
        for queue in [queue for expected in EXPECTED.values() for queue in expected.queues]:
            self.bus.subscribe(queue, Inbox(), prefetch=1)
        await self.bus.start()
        await self.bus.declare(topology.unstorable_letters())

    async def look(self, after: float = 0.0) -> dict[str, str]:
        """Codes of the problems, and their subjects, after so many seconds."""
        self.clock.now += after
        await self.watch.look()
        return {problem.code: problem.subject for problem in self.watch.problems}

    def hear(self, instance: str, number: int, *services: str, **fields: Any) -> None:
        self.reports.hear(report(instance, number, services=services, **fields))

    def gauge(self, name: str, **labels: str) -> float | None:
        return self.telemetry.registry.get_sample_value(name, labels)


async def test_a_system_that_works_has_no_problems_from_the_first_look_on() -> None:
    world = Monitoring()
    assert not world.watch.looked
    await world.start()
    assert await world.look() == {}
    assert world.watch.looked
    assert not world.watch.settled
    assert await world.look(after=19.9) == {}
    assert not world.watch.settled
    assert await world.look(after=0.2) == {}
    assert world.watch.settled


async def test_the_time_before_it_listened_counts_for_nothing() -> None:
    """A start that took long: it says that all is well only after it could have heard that it is not."""
    world = Monitoring(Pace(look=0.01, settled_after=20.0))
    await world.start()
    await world.watch.start()
    try:
        world.clock.now += 30  # made, and not yet taking messages
        async with asyncio.timeout(10):
            while not world.watch.looked:
                await asyncio.sleep(0.01)
        assert not world.watch.settled
        world.clock.now += 30
        world.listening.set()
        async with asyncio.timeout(10):
            while world.watch.settled:
                await asyncio.sleep(0.01)
        for _ in range(5):
            await asyncio.sleep(0.01)
            assert not world.watch.settled, "it has only begun to hear"
        world.clock.now += 21
        assert world.watch.settled
    finally:
        await world.watch.stop()


async def test_a_broker_that_is_away_is_the_one_problem_and_nobody_is_missed_for_it() -> None:
    world = Monitoring()
    await world.start()
    world.hear("a", 1, "edge")
    assert await world.look() == {}
    await world.bus.close()
    assert await world.look(after=5) == {}
    assert await world.look(after=60) == {"bus_unavailable": "bus"}
    assert status_of(world.watch.problems) is HealthStatus.DOWN
    assert world.watch.fault_of("agents") == ""
    assert not world.watch.settled, "it hears nothing"
    # It comes back: nobody could be heard so far, and who is silent now may speak in a moment.
    await world.bus.start()
    assert await world.look(after=5) == {}
    assert await world.look(after=17) == {}
    assert await world.look(after=30) == {"service_silent": "service:edge"}


async def test_a_store_that_is_away_keeps_what_was_seen_of_it() -> None:
    world = Monitoring()
    await world.start()
    headers = [_header(f"e{i}", wake_at=START - 100) for i in range(2)]
    await world.store.write_headers(headers)
    await world.look()
    assert "executions_overdue" in await world.look(after=15)

    async def away(_: str, __: str) -> None:
        raise StoreUnavailable("nobody answers")

    world.store.hook = away
    await world.look(after=5)
    assert await world.look(after=15) == {
        "store_unavailable": "store",
        "executions_overdue": "executions",
        "executions_stuck": "executions",
    }
    assert world.watch.fault_of("executions") == "nobody answers"
    assert world.gauge("conclave_executions_overdue") == 2
    world.store.hook = None
    await world.store.write_headers([_ended(header) for header in headers])
    assert await world.look(after=5) == {}
    assert world.watch.fault_of("executions") == ""
    assert world.gauge("conclave_executions_overdue") == 0


async def test_what_cannot_be_read_is_a_fault_of_that_part_alone() -> None:
    world = Monitoring()
    await world.start()

    async def altered(name: str, moment: str) -> None:
        if (name, moment) == ("list_agents", "before"):
            raise Unreadable("agent ann was altered")

    world.store.hook = altered
    assert await world.look() == {}
    assert world.watch.fault_of("agents") == "agent ann was altered"
    assert world.watch.fault_of("executions") == ""
    assert world.watch.store.seen.halted is not None


async def test_a_full_house_is_said() -> None:
    world = Monitoring()
    await world.start()
    await world.store.write_headers([_header(f"e{i}", wake_at=START + 1_000) for i in range(3)])
    await world.look()
    assert await world.look(after=15) == {"executions_full": "executions"}


async def test_what_ended_before_the_monitor_came_is_known_and_not_counted_again() -> None:
    world = Monitoring()
    await world.start()
    headers = [_header(f"e{i}", started_at=START - 100 + i) for i in range(5)]
    await world.store.write_headers([_ended(header, ExecutionStatus.FAILED) for header in headers])
    await world.store.write_headers([_ended(_header("old", started_at=START - 4_000))])
    assert await world.look() == {"workflow_failing": "workflow:w"}
    assert [window.failed for window in world.rates.windows(START)] == [0, 5, 5, 5]
    await world.look(after=5)
    assert [window.failed for window in world.rates.windows(START)] == [0, 5, 5, 5]
    assert world.store.calls["list_headers"] == 1


async def test_the_errors_of_what_failed_before_the_monitor_came_are_told() -> None:
    world = Monitoring()
    await world.start()
    headers = [_ended(_header(f"e{i}", started_at=START - 100 + i), ExecutionStatus.FAILED) for i in range(5)]
    await world.store.write_headers(headers)
    failed = StepFailed(step="go", attempt=1, error=StepError(type="Broken", message="it broke"))
    for header in headers:
        await world.store.append(
            [LogEntry(execution_id=header.execution_id, n=1, at=START - 90, applied=(), events=(failed,))]
        )
    await world.look()
    (problem,) = world.watch.problems
    assert problem.what == "5 of 5 executions of 'w' failed; usual were 5.0 %. Errors: Broken (5)"
    assert await world.look(after=420) == {}, "nothing has ended since"


async def test_processes_are_counted_by_whether_they_are_ready() -> None:
    world = Monitoring()
    await world.start()
    world.hear("a", 1, "edge", "access")
    world.hear("b", 1, "edge")
    await world.look()
    assert world.gauge("conclave_service_instances", service="edge", ready="true") == 2
    assert world.gauge("conclave_service_instances", service="edge", ready="false") == 0
    assert world.gauge("conclave_service_instances", service="registry", ready="true") == 0
    world.clock.now += 15
    world.hear("b", 2, "edge")
    await world.look(after=5)
    assert world.gauge("conclave_service_instances", service="edge", ready="true") == 1


def _header(key: str, wake_at: float | None = None, started_at: float = START - 200) -> Header:
    return Header(
        execution_id=key,
        n=1,
        status=ExecutionStatus.RUNNING,
        workflow_name="w",
        started_at=started_at,
        wake_at=wake_at,
    )


def _ended(header: Header, status: ExecutionStatus = ExecutionStatus.COMPLETED) -> Header:
    return header.model_copy(update={"n": 2, "status": status, "ended_at": header.started_at + 1, "wake_at": None})


async def test_a_store_that_answers_ever_so_slowly_is_not_waited_for() -> None:
    world = Monitoring()
    await world.start()
    await world.look()
    never = asyncio.Event()

    async def hang(name: str, _: str) -> None:
        if name == "list_agents":
            await never.wait()

    world.store.hook = hang
    world.watch.store = StoreWatch(world.store, Pace(), open_limit=3, clock=world.clock, patience=0.01)
    await world.look(after=5)
    assert await world.look(after=15) == {"store_unavailable": "store"}
    assert world.watch.fault_of("agents") == "it did not answer everything within 0.01 s"


async def test_a_fault_holds_until_another_look_has_ended() -> None:
    world = Monitoring()
    await world.start()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def away(_: str, __: str) -> None:
        raise StoreUnavailable("nobody answers")

    async def late(_: str, __: str) -> None:
        asked.set()
        await answer.wait()

    world.store.hook = away
    await world.look()
    world.store.hook = late
    looking = asyncio.create_task(world.look(after=5))
    await asked.wait()
    assert world.watch.fault_of("agents") == "nobody answers"
    answer.set()
    await looking
    assert world.watch.fault_of("agents") == ""


async def test_looks_that_fail_are_a_problem_until_one_succeeds() -> None:
    world = Monitoring(Pace(look=0.01))
    await world.start()
    broken = True
    looked = asyncio.Semaphore(0)

    async def fail(name: str, _: str) -> None:
        if name == "ping":
            looked.release()
            if broken:
                raise RuntimeError("not as it should be")

    world.store.hook = fail
    await world.watch.start()
    for _ in range(3):
        await looked.acquire()
    (blind,) = world.watch.problems
    assert (blind.code, blind.since) == ("monitor_blind", START)
    assert "RuntimeError" in blind.what
    assert world.gauge("conclave_monitor_problems", severity="error") == 1
    broken = False
    for _ in range(8):
        await looked.acquire()
    assert world.watch.problems == ()
    await world.watch.stop()
