"""The monitor's figures of a real system, held against the logs in its store and what Prometheus would scrape of it."""

import asyncio
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from contracts.execution import CancelExecution, StartExecution
from contracts.monitoring_views import MetricsView, SystemView, WindowFigures
from services.runtime.bus.base import Bus
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.telemetry import buckets
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.counted_agent import CountedAgent, Ledger
from tests.support.memory_store import MemoryStore
from tests.support.monitored import Member, Monitored

HOST = CountedAgent.agent_type
GOOD, CHAINS, FLAKY, BROKEN, DAWDLING = 50, 25, 10, 10, 5


class Counting(Monitored):
    """With hosts of an agent that notes what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        agent = type("CountedAgentOfThisTest", (CountedAgent,), {"ledger": self.ledger})

        def build(settings: Settings, bus: Bus, store: MemoryStore, telemetry: Telemetry) -> Service:
            return agent_service(agent, settings, bus, telemetry=telemetry)

        self._builds[HOST] = build

    async def begin_many(self, count: int, *steps: dict[str, Any]) -> list[str]:
        ids = []
        for number in range(count):
            keyed = [{**step, "inputs": {**step["inputs"], "key": f"{step['id']}{number}"}} for step in steps]
            start = StartExecution(execution_id=f"{steps[0]['id']}-{number}", definition={"name": "n", "steps": keyed})
            await self.ask(start)
            ids.append(start.execution_id)
        return ids

    async def run_many(self, count: int, *steps: dict[str, Any]) -> None:
        await asyncio.gather(*(self.ended(one) for one in await self.begin_many(count, *steps)))


@pytest.fixture
async def system() -> AsyncIterator[Counting]:
    """With two orchestrators and two hosts, each a process of its own as far as its reports go."""
    system = Counting()
    try:
        await system.start()
        await system.run("orchestrator")
        await system.run(HOST)
        await system.all_well()
        yield system
    finally:
        await system.end()


# ---- what is done, and what came of it


def step(step_id: str, action: str = "work", *, fails: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": step_id, "agent_type": HOST, "action": action, "inputs": {"fails": fails}, **more}


async def run_a_hundred(system: Counting) -> None:
    """One host is replaced on the way, so what was counted comes of processes that are not there at the same time."""
    await system.run_many(GOOD, step("good"))
    await system.stop(HOST)
    await system.run(HOST)
    await system.run_many(CHAINS, step("first"), step("second", depends_on=["first"]))
    await system.run_many(FLAKY, step("flaky", fails=1, retry={"max_attempts": 2, "backoff": 0}))
    await system.run_many(BROKEN, step("broken", "break"))
    dawdling = await system.begin_many(DAWDLING, step("dawdling", "dawdle", timeout=60))
    await system.until(lambda: begun(system, DAWDLING))
    for execution_id in dawdling:
        await system.ask(CancelExecution(execution_id=execution_id))
        await system.ended(execution_id)


async def begun(system: Counting, count: int) -> bool:
    return system.ledger.begun["dawdle"] == count


class Happened:
    """Counted from the logs."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.durations: list[float] = []
        self.runs: list[tuple[str, float]] = []

    @classmethod
    async def in_store(cls, system: Counting) -> "Happened":
        self = cls()
        for entries in (await system.store.read_log(dict.fromkeys(system.store.rows["headers"], 0))).values():
            for entry in entries:
                for event in entry.events:
                    self.events[event.kind] += 1
                    said = event.model_dump()
                    if event.kind == "execution_ended":
                        self.ends[said["status"]] += 1
                        self.durations.append(entry.at - entries[0].at)
                    elif said.get("finished_at"):
                        self.runs.append((said["step"], said["finished_at"] - said["started_at"]))
        return self


async def shown(system: Counting, holds: Callable[[WindowFigures], bool]) -> WindowFigures:
    """The last five minutes, once that holds: processes report every 0.2 s."""

    async def looked() -> WindowFigures | None:
        view = await system.view("metrics", window=300)
        return view.windows[0] if holds(view.windows[0]) else None

    found = await system.until(looked)
    assert isinstance(found, WindowFigures)
    return found


def assert_in_bucket(estimate: float | None, exact: list[float], q: float, bounds: tuple[float, ...]) -> None:
    real = sorted(exact)[math.ceil(q * len(exact)) - 1]
    bucket = bisect_left(bounds, real)
    assert estimate is not None
    assert (bounds[bucket - 1] if bucket else 0.0) <= estimate <= bounds[bucket]


async def test_a_hundred_executions_in_every_figure(system: Counting) -> None:
    await run_a_hundred(system)
    happened = await Happened.in_store(system)
    assert happened.ends == {"completed": GOOD + CHAINS + FLAKY, "failed": BROKEN, "cancelled": DAWDLING}
    found = await shown(system, lambda window: sum(window.executions.ended.values()) == 100 and quiet(window))

    executions = found.executions
    assert executions.ended == happened.ends
    assert (executions.started, executions.open, executions.starts_waiting) == (100, 0, 0)
    assert executions.started_per_second == pytest.approx(100 / found.seconds)
    assert executions.duration.count == 100
    assert executions.duration.mean == pytest.approx(sum(happened.durations) / 100)
    for q in (0.5, 0.9, 0.95, 0.99):
        estimate = getattr(executions.duration, f"p{round(q * 100)}")
        assert_in_bucket(estimate, happened.durations, q, buckets.EXECUTIONS)

    broken, dawdled, worked = found.steps
    assert [one.action for one in found.steps] == ["break", "dawdle", "work"]
    assert worked.ended == {"succeeded": GOOD + 2 * CHAINS + FLAKY}
    assert (broken.ended, dawdled.ended) == ({"failed": BROKEN}, {"cancelled": DAWDLING})
    assert (worked.success_rate, broken.success_rate, dawdled.success_rate) == (1.0, 0.0, None)
    assert (worked.retries, worked.timeouts, worked.resends) == (FLAKY, 0, 0)
    assert sum(one.runs for one in found.steps) == happened.events["step_dispatched"]
    runs = [run for step_id, run in happened.runs if step_id != "broken"]
    assert worked.run.count == worked.wait.count == worked.runs == len(runs) == GOOD + 2 * CHAINS + 2 * FLAKY
    assert worked.run.mean == pytest.approx(sum(runs) / len(runs))
    assert_in_bucket(worked.run.p95, runs, 0.95, buckets.WORK)

    begun = {one.action: one.calls for one in found.agents}
    assert begun == dict(system.ledger.begun)
    outcomes = {(one.action, outcome): n for one in found.agents for outcome, n in one.outcomes.items()}
    assert outcomes == {**system.ledger.ended, ("dawdle", "cancelled"): DAWDLING}
    by_action = {one.action: one for one in found.agents}
    assert by_action["work"].success_rate == pytest.approx((worked.runs - FLAKY) / worked.runs)
    assert by_action["work"].response.count == worked.runs

    assert found.commits.commits == found.commits.record.count == found.commits.tell.count > 0
    messages = found.messages
    assert (messages.redelivered, messages.dead_lettered, messages.refused, messages.reconnects) == (0, 0, {}, 0)
    assert messages.received == sum(queue.received for queue in messages.queues)


def quiet(window: WindowFigures) -> bool:
    """Whether every process has reported the last that it did: what begins in one ends in another."""
    ended, attempts = sum(window.executions.ended.values()), sum(one.runs for one in window.steps)
    calls, at_work = (sum(getattr(one, name) for one in window.agents) for name in ("calls", "in_progress"))
    if not (window.commits.commits == window.commits.record.count == window.commits.tell.count):
        return False  # reported in the middle of one
    return (window.executions.started, calls, at_work) == (ended, attempts, 0) and not window.executions.open


async def test_the_same_figures_as_prometheus_scrapes(system: Counting) -> None:
    await system.run_many(20, step("good"))
    found = await shown(system, lambda window: window.executions.ended == {"completed": 20} and quiet(window))
    orchestrators = await scraped(system, "orchestrator")
    hosts = await scraped(system, HOST)
    assert orchestrators["conclave_executions_started_total"] == found.executions.started == 20
    assert orchestrators["conclave_step_run_seconds_count"] == found.steps[0].run.count
    assert orchestrators["conclave_step_run_seconds_sum"] == pytest.approx(20 * (found.steps[0].run.mean or 0))
    assert hosts["conclave_agent_actions_total"] == found.agents[0].calls == 20
    assert hosts["conclave_agent_action_duration_seconds_sum"] == pytest.approx(
        20 * (found.agents[0].response.mean or 0)
    )


async def scraped(system: Counting, service: str) -> Counter[str]:
    """What its processes show, whatever the labels."""
    found: Counter[str] = Counter()
    for member in system.members[service]:
        for (name, _), value in (await system.gauges(member)).items():
            found[name] += value  # type: ignore[assignment]
    return found


async def test_what_was_before_the_monitor_is_not_counted(system: Counting) -> None:
    await system.run_many(7, step("early"))
    await shown(system, lambda window: window.executions.ended == {"completed": 7} and quiet(window))
    await system.stop("monitor")
    await system.monitor()
    await until_heard(system, ["orchestrator", "orchestrator", HOST, HOST])
    await system.run_many(3, step("late"))
    found = await shown(system, lambda window: window.executions.ended == {"completed": 3} and quiet(window))
    assert found.executions.started == 3


async def until_heard(system: Counting, services: list[str]) -> None:
    async def heard() -> bool:
        view: SystemView = await system.view("system")
        return not Counter(services) - Counter(name for one in view.processes for name in one.services)

    await system.until(heard)


async def test_every_process_is_in_the_system_view_until_it_is_gone(system: Counting) -> None:
    members: dict[str, Member] = {one.telemetry.instance: one for those in system.members.values() for one in those}

    async def seen(there: Callable[[SystemView], Any]) -> SystemView:
        async def looked() -> SystemView | None:
            view: SystemView = await system.view("system")
            return view if there(view) else None

        found: SystemView = await system.until(looked)
        return found

    view = await seen(lambda view: {one.instance for one in view.processes} == set(members))
    for one in view.processes:
        assert one.services == (members[one.instance].service.name,)
        assert (one.not_ready, one.presence) == ((), "here")
        assert one.uptime > 0
        assert one.system.memory > 1_000_000
        assert one.system.threads > 0
    (host,) = view.hosts
    assert host.processes == len(members)
    assert host.memory == sum(one.system.memory for one in view.processes)
    assert host.host_memory_total > host.host_memory_available > 0
    assert view.gone == ()

    stopped, killed = (system.members[name][0].telemetry.instance for name in (HOST, "registry"))
    await system.stop(HOST)
    await system.kill("registry")
    gone = {stopped: "stopped", killed: "silent"}
    view = await seen(lambda view: {one.instance: one.why for one in view.gone} == gone)
    assert {one.instance for one in view.processes} == set(members) - {stopped, killed}


async def test_all_windows_of_a_young_monitor_say_how_young_it_is(system: Counting) -> None:
    everybody = sum(map(len, system.members.values()))

    async def counted() -> MetricsView | None:
        """Just after this process has stood still, none has reported lately."""
        view: MetricsView = await system.view("metrics")
        return view if view.windows[0].messages.received and view.processes == everybody else None

    view: MetricsView = await system.until(counted)
    assert [one.window for one in view.windows] == [60, 300, 900, 3600]
    for one in view.windows:
        assert 0 < one.seconds <= view.at - view.since + 0.5
    assert (view.processes, view.left_out) == (everybody, 0)
