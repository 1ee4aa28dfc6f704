"""``/api/v1/monitoring``: how everything does, as the monitor says over the bus. Nothing else depends on the monitor:
where it is away, work goes on, and this alone is 503."""

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from contracts.monitoring import DescribeMonitoring, ViewName
from contracts.monitoring_health import Component, HealthStatus, HealthView, Severity
from contracts.monitoring_health import Problem as Finding
from contracts.monitoring_views import MonitoringDescribed
from services.edge import monitoring_examples as examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.commands import Unanswered, service
from services.edge.dependencies import Client, CorrelationId, Edge, EdgeParts
from services.edge.models import View
from services.edge.monitoring_models import (
    MonitoringAgents,
    MonitoringHealth,
    MonitoringMetrics,
    MonitoringQueues,
    MonitoringSystem,
    MonitoringWorkflows,
    Window,
    show,
)
from services.edge.openapi import Responses, ok, problems
from services.edge.problems import RETRY_AFTER, Problem, unavailable
from services.runtime.store.base import StoreError

router = APIRouter(prefix="/monitoring", tags=["monitoring"])

_MONITOR: Final = service("monitor")
_OF_REPORTS: Final = (ViewName.METRICS, ViewName.SYSTEM)
_ONLY_ASKED: Final = "asking changes nothing"


def _health_responses() -> Responses:
    """503 is a problem too, where whoever asks cannot be signed in without the store."""
    away = problems(503, examples=examples.PROBLEMS)[503]
    content = {"application/json": {"example": examples.HEALTH_DOWN}, **away["content"]}
    said = "Nothing new gets done: there is a critical problem, or the edge has lost the store or the broker"
    return {
        **ok(examples.HEALTH),
        503: {"description": said, "model": MonitoringHealth, "content": content},
        **problems(422),
    }


def _responses(example: Any, *statuses: int) -> Responses:
    return {**ok(example), **problems(*statuses, 503, examples=examples.PROBLEMS)}


@router.get(
    "/health",
    operation_id="getMonitoringHealth",
    dependencies=[needs(Scope.METRICS_READ)],
    summary="How everything does: the whole in one word, every problem with what to do about it, and every service",
    response_model=MonitoringHealth,
    responses=_health_responses(),
)
async def get_health(edge: EdgeParts, client: Client, correlation_id: CorrelationId, response: Response) -> View:
    """Where the monitor does not answer, the edge says what it knows by itself."""
    try:
        view = (await _ask(edge, ViewName.HEALTH, client, correlation_id)).health
        answered_by = "monitor"
    except Problem as away:
        view, answered_by = await _own_health(edge, away.detail), "edge"
    assert view is not None
    if view.status is HealthStatus.DOWN:
        response.status_code = 503
        response.headers["Retry-After"] = RETRY_AFTER
    return show(MonitoringHealth, view, answered_by=answered_by)


@router.get(
    "/metrics",
    operation_id="getMonitoringMetrics",
    dependencies=[needs(Scope.METRICS_READ)],
    summary="What was done, how much of it failed and how long it took, with percentiles, over windows of time",
    response_model=MonitoringMetrics,
    responses=_responses(examples.METRICS, 404, 422),
)
async def get_metrics(
    edge: EdgeParts,
    client: Client,
    correlation_id: CorrelationId,
    window: Annotated[Window | None, Query(description="Only this one, in seconds; all of them if not given.")] = None,
) -> View:
    """Estimated from the same counters and histograms that Prometheus reads on `/metrics`, without it."""
    seconds = None if window is None else window.value
    return _shown(MonitoringMetrics, await _ask(edge, ViewName.METRICS, client, correlation_id, seconds))


@router.get(
    "/agents",
    operation_id="getMonitoringAgents",
    dependencies=[needs(Scope.METRICS_READ)],
    summary="How agents do, by type: heartbeats of hosts, instances in error, actions that fail more often than usual",
    response_model=MonitoringAgents,
    responses=_responses(examples.AGENTS),
)
async def get_agents(edge: EdgeParts, client: Client, correlation_id: CorrelationId) -> View:
    return _shown(MonitoringAgents, await _ask(edge, ViewName.AGENTS, client, correlation_id))


@router.get(
    "/workflows",
    operation_id="getMonitoringWorkflows",
    dependencies=[needs(Scope.METRICS_READ)],
    summary="How workflows do: executions that are overdue or stuck, and workflows that fail more often than usual",
    response_model=MonitoringWorkflows,
    responses=_responses(examples.WORKFLOWS),
)
async def get_workflows(edge: EdgeParts, client: Client, correlation_id: CorrelationId) -> View:
    return _shown(MonitoringWorkflows, await _ask(edge, ViewName.WORKFLOWS, client, correlation_id))


@router.get(
    "/system",
    operation_id="getMonitoringSystem",
    dependencies=[needs(Scope.METRICS_READ)],
    summary="Every process and host: CPU, memory, network, event-loop lag",
    response_model=MonitoringSystem,
    responses=_responses(examples.SYSTEM, 404),
)
async def get_system(edge: EdgeParts, client: Client, correlation_id: CorrelationId) -> View:
    return _shown(MonitoringSystem, await _ask(edge, ViewName.SYSTEM, client, correlation_id))


@router.get(
    "/queues",
    operation_id="getMonitoringQueues",
    dependencies=[needs(Scope.METRICS_READ)],
    summary="Every queue: how much waits, who takes from it and how fast; and dead letters",
    response_model=MonitoringQueues,
    responses=_responses(examples.QUEUES),
)
async def get_queues(edge: EdgeParts, client: Client, correlation_id: CorrelationId) -> View:
    return _shown(MonitoringQueues, await _ask(edge, ViewName.QUEUES, client, correlation_id))


async def _ask(
    edge: Edge, view: ViewName, client: str, correlation_id: str, window: int | None = None
) -> MonitoringDescribed:
    """
    Raises:
        Problem: 503, the broker or the monitor is away, or the monitor says that it cannot tell; 404, it is about
            figures, and nothing is counted.
    """
    if view in _OF_REPORTS and not edge.telemetry.enabled:
        raise Problem("not-found", f"nothing is counted here (METRICS_ENABLED=false), so there is no view {view.value}")
    try:
        return await edge.commands.ask(
            DescribeMonitoring(view=view, window=window),
            MonitoringDescribed,
            actor=client,
            correlation_id=correlation_id,
            members={"view": view.value},
            repeating=_ONLY_ASKED,
            of=_MONITOR,
        )
    except Unanswered:
        raise unavailable(
            f"no answer from the monitor within {edge.settings.answer_timeout:g} s; executions go on without it, and"
            " /health and the executions themselves can be asked meanwhile",
            view=view.value,
        ) from None


def _shown(model: type[View], answer: MonitoringDescribed) -> View:
    return show(model, getattr(answer, answer.view.value))


async def _own_health(edge: Edge, no_answer: str) -> HealthView:
    components = (
        Component(name="store", fault=await _fault_of_store(edge)),
        Component(name="bus", fault="" if edge.bus.connected else "not connected"),
        Component(name="monitor", fault=no_answer),
    )
    now = time.time()
    found = tuple(_finding(one, now) for one in components if not one.ok)
    down = any(one.severity is Severity.CRITICAL for one in found)
    return HealthView(
        status=HealthStatus.DOWN if down else HealthStatus.DEGRADED,
        at=now,
        heard_for=0.0,
        settled=False,
        problems=found,
        components=components,
    )


async def _fault_of_store(edge: Edge) -> str:
    try:
        async with edge.reads.in_time():
            await edge.store.ping()
    except StoreError:
        return "away, or does not answer in time"
    return ""


def _finding(component: Component, now: float) -> Finding:
    if component.name == "monitor":
        return Finding(
            code="monitor_unavailable",
            severity=Severity.WARNING,
            subject="service:monitor",
            what=f"the monitor could not be asked: {component.fault}",
            since=now,
            what_to_do="Start the monitor service, or read its log; until then this edge alone is heard.",
        )
    return Finding(
        code=f"{component.name}_unavailable",
        severity=Severity.CRITICAL,
        subject=component.name,
        what=f"this edge cannot use the {component.name}: {component.fault}",
        since=now,
        what_to_do=f"See whether the {component.name} runs and can be reached from here; the edge's log has the words.",
    )
