"""What the monitor answers: one view at a time."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from contracts.monitoring import DescribeMonitoring, ViewName
from contracts.monitoring_health import AgentsView, HealthView, QueuesView, WorkflowsView
from contracts.monitoring_views import MetricsView, MonitoringDescribed, SystemView
from services.monitor.ending_rates import EndingRates
from services.monitor.figures import figures_of
from services.monitor.findings import status_of
from services.monitor.queue_health import missing_queues, queue_views
from services.monitor.reports import Reports
from services.monitor.system import system_of
from services.monitor.watching import Watch
from services.monitor.windows import Windows
from services.monitor.workflow_health import workflows_view
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received


class Answering:
    """
    Args:
        open_limit: up to which open executions are counted.
        clock: epoch seconds.
    """

    def __init__(
        self,
        watch: Watch,
        reports: Reports,
        windows: Windows,
        rates: EndingRates,
        *,
        open_limit: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._watch = watch
        self._reports = reports
        self._windows = windows
        self._rates = rates
        self._open_limit = open_limit
        self._clock = clock

    async def describe(self, received: Received[DescribeMonitoring]) -> Iterable[Outgoing[Any]]:
        question = received.message
        if not self._watch.looked:
            await self._watch.look()
        view = self._view(question.view, question.window)
        return [received.reply(MonitoringDescribed.model_validate({"view": question.view, question.view.value: view}))]

    def _view(
        self, name: ViewName, window: int | None
    ) -> HealthView | MetricsView | AgentsView | WorkflowsView | SystemView | QueuesView:
        match name:
            case ViewName.HEALTH:
                return self._health()
            case ViewName.METRICS:
                return figures_of(self._reports, self._windows, window, self._clock)
            case ViewName.AGENTS:
                return self._agents()
            case ViewName.WORKFLOWS:
                return self._workflows()
            case ViewName.SYSTEM:
                return system_of(self._reports, self._clock)
            case ViewName.QUEUES:
                return self._queues()

    def _health(self) -> HealthView:
        watch = self._watch
        return HealthView(
            status=status_of(watch.problems),
            at=self._clock(),
            heard_for=watch.heard_for,
            settled=watch.settled,
            problems=watch.problems,
            components=watch.components,
            services=watch.services,
        )

    def _agents(self) -> AgentsView:
        watch = self._watch
        return AgentsView(
            at=self._clock(),
            heard_for=watch.heard_for,
            fault=watch.fault_of("agents"),
            types=watch.types,
            complete=watch.store.seen.all_agents,
        )

    def _workflows(self) -> WorkflowsView:
        watch = self._watch
        return workflows_view(
            self._rates,
            watch.store.seen.halted,
            fault=watch.fault_of("executions"),
            open_limit=self._open_limit,
            now=self._clock(),
            heard_for=watch.heard_for,
        )

    def _queues(self) -> QueuesView:
        watch = self._watch
        return QueuesView(
            at=self._clock(),
            heard_for=watch.heard_for,
            fault=watch.bus_fault,
            queues=queue_views(watch.queues.measured, watch.flow),
            missing=missing_queues(watch.known, watch.queues.measured),
            complete=watch.queues.complete,
            dead_letters=watch.letters,
        )
