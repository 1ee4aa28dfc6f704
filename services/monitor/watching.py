"""The monitor's looks: every few seconds at store, queues and what was heard, for what is wrong with any of it."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import structlog

from contracts import topology
from contracts.monitoring_health import (
    AgentTypeView,
    Component,
    DeadLetterFigures,
    Problem,
    ServiceHealth,
    Severity,
)
from services.monitor import agent_health, queue_health, service_health, workflow_health
from services.monitor.action_rates import ActionRates
from services.monitor.ending_rates import EndingRates
from services.monitor.findings import Finding, Problems, by_severity, problem_of
from services.monitor.instances import instances_of
from services.monitor.pace import Pace
from services.monitor.queue_flow import Flow, flow_of
from services.monitor.queue_watch import PERIOD, Known, QueueWatch, known_queues
from services.monitor.reports import Reports
from services.monitor.store_watch import DEAD_LETTERS_LIMIT, StoreWatch
from services.monitor.windows import Windows
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import Bus, BusError
from services.runtime.known_types import services_of_types
from services.runtime.repeated import Repeated
from services.runtime.store.base import Host, StoreError
from services.runtime.telemetry.monitor_metrics import MonitorMetrics

log = structlog.get_logger(__name__)

_UNSERVED = (
    topology.unstorable_letters().name,
    *(queue.name for expected in service_health.EXPECTED.values() for queue in expected.queues),
)
_LATE = 2.0  # seconds: a look so much later than meant says that the process stood still, and heard nothing either


class Watch:
    """What there is to say at any time is in its attributes; ``look`` brings them up to date.

    Args:
        clock: epoch seconds.
        open_limit: how many executions may be open.
        listening: set while messages are taken; the first look waits a little for it.
    """

    def __init__(
        self,
        bus: Bus,
        store: StoreWatch,
        reports: Reports,
        windows: Windows,
        rates: EndingRates,
        metrics: MonitorMetrics,
        pace: Pace,
        *,
        open_limit: int,
        listening: asyncio.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.queues = QueueWatch(bus)
        self.components: tuple[Component, ...] = ()
        self.services: tuple[ServiceHealth, ...] = ()
        self.types: tuple[AgentTypeView, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self.known: Sequence[Known] = ()
        self.flow = Flow()
        self._bus = bus
        self._reports = reports
        self._windows = windows
        self._rates = rates
        self._metrics = metrics
        self._pace = pace
        self._open_limit = open_limit
        self._listening = listening
        self._clock = clock
        self._hosts = agent_health.HostWatch(pace.forgotten_after)
        self._actions = ActionRates(windows, pace.recent, pace.usual)
        self._tracked = Problems(pace.patience)
        self._listening_since = clock()
        self.bus_fault = ""
        self._knows_ends = False
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "monitor")

    async def stop(self) -> None:
        await stopped(self._task)

    @property
    def looked(self) -> bool:
        return bool(self.components)

    @property
    def heard_for(self) -> float:
        """Seconds for which whatever is said could be heard."""
        return max(0.0, self._clock() - self._listening_since)

    @property
    def settled(self) -> bool:
        return self.heard_for >= self._pace.settled_after

    def fault_of(self, part: str) -> str:
        """Why a part of the store could not be read; empty if it could."""
        faults = self.store.seen.faults
        return faults.get("store") or faults.get(part, "")

    @property
    def letters(self) -> DeadLetterFigures:
        measured, seen = self.queues.figures, self.store.seen
        waiting, unstorable = topology.dead_letters().name, topology.unstorable_letters().name
        return DeadLetterFigures(
            stored=seen.stored_letters,
            arrived=seen.arrived_letters,
            window=self._pace.recent,
            limit=DEAD_LETTERS_LIMIT,
            waiting=measured[waiting].ready if waiting in measured else None,
            unstorable=measured[unstorable].ready if unstorable in measured else None,
        )

    async def look(self) -> None:
        """At everything, once."""
        async with self._turn:
            await self.store.look()
            await self._learn_ends()
            await self._measure()
            now = self._clock()
            self._rates.judge(now)
            seen, measured = self.store.seen, None if self.bus_fault else self.queues.figures
            self.components = (
                Component(name="bus", fault=self.bus_fault),
                Component(name="store", fault=seen.faults.get("store", "")),
            )
            heard = self._reports.processes()
            self.flow = flow_of(self._windows, PERIOD, known=self.settled and bool(heard))
            instances = instances_of(heard, now, self._pace.forgotten_after)
            self.services = service_health.services_of(instances, measured)
            actions = self._actions.judge(now)
            self.types = agent_health.types_of(seen.hosts, seen.agents, actions, measured, now)
            silent = self._hosts.silent(seen.hosts, now)
            self.problems = self._tracked.after(self._findings(silent, now), now)
            self._show(now)

    # ---- within

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        trouble = Repeated(log, "look failed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace.look):
                await self._listening.wait()
        self._was_deaf()  # since it was made
        while True:
            try:
                await self.look()
            except Exception as error:  # whatever it is, the next look may be better
                trouble.failed(error, exc_info=error)
                self._say_blind(error)
            else:
                trouble.worked()
            meant, deaf = loop.time() + self._pace.look, not self._listening.is_set()
            await asyncio.sleep(self._pace.look)
            if deaf or loop.time() - meant > _LATE:
                self._was_deaf()

    def _say_blind(self, error: Exception) -> None:
        """What was found last is still shown, and that it may not be so any more."""
        blind = Finding(
            "monitor_blind",
            Severity.ERROR,
            "service:monitor",
            f"the monitor could not finish its look ({type(error).__name__}): what it says else may be old",
            "See its log for what it met.",
        )
        since = next((one.since for one in self.problems if one.code == blind.code), self._clock())
        others = (one for one in self.problems if one.code != blind.code)
        self.problems = (problem_of(blind, since), *others)
        self._metrics.problems({severity.value: count for severity, count in by_severity(self.problems).items()})

    def _was_deaf(self) -> None:
        """Who was silent until now may have spoken."""
        self._listening_since = self._clock()
        self._reports.was_deaf()

    async def _learn_ends(self) -> None:
        """Once: what ended before this monitor began to listen, so that it knows what is usual."""
        if self._knows_ends or self.store.seen.faults:
            return
        try:
            headers = await self.store.ends()
        except StoreError as error:
            log.warning("earlier ends are not known", error=str(error))
            return
        errors: dict[str, dict[str, str]] = {}
        try:
            errors = await self.store.errors_of(headers)
        except StoreError as error:
            log.warning("errors of earlier executions are not known", error=str(error))
        self._knows_ends = True
        for header in headers:
            if (end := workflow_health.end_of_header(header, errors.get(header.execution_id, {}))) is not None:
                self._rates.learn(end)

    async def _measure(self) -> None:
        seen, now = self.store.seen, self._clock()
        self.known = known_queues(services_of_types(seen.hosts, now), seen.agents)
        try:
            if not self._bus.connected:
                raise BusError("not connected")
            await self.queues.look(self.known, now)
        except BusError as error:
            self.bus_fault = str(error)
            self._was_deaf()
        else:
            self.bus_fault = ""

    def _findings(self, silent: Sequence[Host], now: float) -> Iterator[Finding]:
        measured = None if self.bus_fault else self.queues.figures
        away = [component.name for component in self.components if not component.ok]
        yield from service_health.component_findings(self.components)
        yield from service_health.service_findings(self.services, measured, away)
        yield from agent_health.agent_findings(self.types, silent)
        yield from workflow_health.workflow_findings(self.store.seen.halted, self._rates, self._open_limit, now)
        if measured is not None:
            views = queue_health.queue_views(self.queues.measured, self.flow)
            yield from queue_health.queue_findings(views, _UNSERVED, self._pace.long_wait)
        yield from queue_health.dead_letter_findings(self.letters)

    def _show(self, now: float) -> None:
        metrics, seen = self._metrics, self.store.seen
        metrics.problems({severity.value: count for severity, count in by_severity(self.problems).items()})
        speaking = {one.service: [i for i in one.instances if not i.silent] for one in self.services}
        metrics.services(
            {name: sum(one.ready for one in those) for name, those in speaking.items()},
            {name: sum(not one.ready for one in those) for name, those in speaking.items()},
        )
        metrics.queues(queue_health.by_family(self.queues.measured.values()))
        metrics.agents(Counter((agent.agent_type, agent.status.value) for agent in seen.agents))
        metrics.hosts(
            {one.agent_type: one.hosts_available for one in self.types},
            {one.agent_type: one.hosts_silent for one in self.types},
        )
        if seen.halted is not None:
            metrics.executions(overdue=len(seen.halted.overdue), stuck=len(seen.halted.stuck))
        metrics.workflows_failing(len(self._rates.failing(now)))
        if seen.stored_letters is not None:
            metrics.dead_letters(seen.stored_letters)
