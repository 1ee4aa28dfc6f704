"""The examples of the monitoring API: a small system with one queue that nobody takes from."""

from typing import Any, Final

from contracts.agents import AgentStatus
from contracts.history import ExecutionStatus
from contracts.monitoring import CheckResult, SystemFigures
from contracts.monitoring_health import (
    ActionView,
    AgentFault,
    AgentsView,
    AgentTypeView,
    Component,
    DeadLetterFigures,
    EndedExecution,
    HealthStatus,
    HealthView,
    HostView,
    InstanceHealth,
    OpenExecution,
    Problem,
    QueuesView,
    QueueView,
    ServiceHealth,
    Severity,
    WindowOfEnds,
    WorkflowsView,
    WorkflowView,
)
from contracts.monitoring_views import (
    ActionFigures,
    CommitFigures,
    ExecutionFigures,
    GoneProcess,
    HostFigures,
    HttpFigures,
    MessageFigures,
    MetricsView,
    ProcessFigures,
    QueueFigures,
    Spread,
    StepFigures,
    SystemView,
    WindowFigures,
)
from services.edge.examples import EXECUTION_ID, WORKFLOW_ID
from services.edge.models import View
from services.edge.monitoring_models import (
    MonitoringAgents,
    MonitoringHealth,
    MonitoringMetrics,
    MonitoringQueues,
    MonitoringSystem,
    MonitoringWorkflows,
    show,
)

_NOW: Final = 1_769_851_800.0  # 2026-01-31T09:30:00Z
_PROCESS: Final = "4f1b2c3d5e6f47089a0b1c2d3e4f5061"
_GONE: Final = "9c8b7a6f5e4d43219a0b1c2d3e4f5061"
_UNSERVED: Final = Problem(
    code="queue_unserved",
    severity=Severity.ERROR,
    subject="queue:data_agent",
    what="12 messages wait in data_agent, and nobody takes from it",
    since=_NOW - 40,
    what_to_do="Start the service that takes from it.",
)
_TIMES: Final = Spread(count=42, mean=0.021, p50=0.018, p90=0.035, p95=0.041, p99=0.052)


def _json(view: View) -> dict[str, Any]:
    return view.model_dump(mode="json", exclude_none=True)


HEALTH: Final = _json(
    show(
        MonitoringHealth,
        HealthView(
            status=HealthStatus.DEGRADED,
            at=_NOW,
            heard_for=3_600,
            settled=True,
            problems=(_UNSERVED,),
            components=(Component(name="store"), Component(name="bus")),
            services=(
                ServiceHealth(
                    service="orchestrator",
                    expected=True,
                    consumers=1,
                    instances=(
                        InstanceHealth(
                            instance=_PROCESS,
                            host="node-1",
                            pid=17,
                            version="0.1.0",
                            started_at=_NOW - 3_600,
                            heard_at=_NOW - 2,
                            ready=True,
                        ),
                        InstanceHealth(
                            instance=_GONE,
                            host="node-2",
                            pid=21,
                            version="0.1.0",
                            started_at=_NOW - 90,
                            heard_at=_NOW - 30,
                            silent=True,
                            ready=False,
                            faults=(CheckResult(name="bus", fault="not connected"),),
                        ),
                    ),
                ),
            ),
        ),
        answered_by="monitor",
    )
)
HEALTH_DOWN: Final = _json(
    show(
        MonitoringHealth,
        HealthView(
            status=HealthStatus.DOWN,
            at=_NOW,
            heard_for=0,
            settled=False,
            problems=(
                Problem(
                    code="bus_unavailable",
                    severity=Severity.CRITICAL,
                    subject="bus",
                    what="this edge cannot use the bus: not connected",
                    since=_NOW,
                    what_to_do="See whether the bus runs and can be reached from here; the edge's log has the words.",
                ),
            ),
            components=(
                Component(name="store"),
                Component(name="bus", fault="not connected"),
                Component(name="monitor", fault="the message broker is away; nothing was sent"),
            ),
        ),
        answered_by="edge",
    )
)
METRICS: Final = _json(
    show(
        MonitoringMetrics,
        MetricsView(
            at=_NOW,
            since=_NOW - 3_600,
            processes=8,
            windows=(
                WindowFigures(
                    window=60,
                    seconds=60,
                    executions=ExecutionFigures(
                        started=21,
                        started_per_second=0.35,
                        ended={"completed": 20, "failed": 1},
                        ended_per_second=0.35,
                        duration=_TIMES,
                        open=2,
                    ),
                    steps=(
                        StepFigures(
                            agent_type="data_agent",
                            action="process_data",
                            runs=42,
                            runs_per_second=0.7,
                            ended={"succeeded": 41, "failed": 1},
                            success_rate=0.976,
                            wait=_TIMES,
                            run=_TIMES,
                            retries=1,
                        ),
                    ),
                    agents=(
                        ActionFigures(
                            agent_type="data_agent",
                            action="process_data",
                            calls=42,
                            calls_per_second=0.7,
                            outcomes={"succeeded": 40, "cached": 1, "failed": 1},
                            success_rate=0.976,
                            response=_TIMES,
                            in_progress=1,
                        ),
                    ),
                    commits=CommitFigures(commits=42, per_second=0.7, record=_TIMES, tell=_TIMES),
                    messages=MessageFigures(
                        published=120,
                        published_per_second=2.0,
                        publish=_TIMES,
                        received=118,
                        received_per_second=1.97,
                        queues=(
                            QueueFigures(
                                service="data_agent",
                                queue="data_agent",
                                received=42,
                                received_per_second=0.7,
                                settled={"acked": 42},
                                lag=_TIMES,
                            ),
                        ),
                    ),
                    http=HttpFigures(requests=42, per_second=0.7, statuses={"2xx": 41, "4xx": 1}, duration=_TIMES),
                ),
            ),
        ),
    )
)
AGENTS: Final = _json(
    show(
        MonitoringAgents,
        AgentsView(
            at=_NOW,
            heard_for=3_600,
            types=(
                AgentTypeView(
                    agent_type="data_agent",
                    description="Loads, checks and transforms records.",
                    hosts_available=1,
                    hosts_silent=0,
                    hosts=(
                        HostView(
                            host_id="host-1", service="data_agent", available=True, seen_at=_NOW - 3, heartbeat=10
                        ),
                    ),
                    statuses={AgentStatus.IDLE: 1, AgentStatus.ERROR: 1},
                    faults=(
                        AgentFault(
                            agent_id="loader", status=AgentStatus.ERROR, error="FileNotFoundError: no such folder"
                        ),
                    ),
                    last_heard_at=_NOW - 3,
                    consumers=1,
                    waiting=0,
                    actions=(
                        ActionView(
                            action="process_data",
                            window=300,
                            calls=120,
                            failed=2,
                            failure_rate=0.0167,
                            usual_failure_rate=0.01,
                            duration_p50=0.018,
                            duration_p95=0.041,
                        ),
                    ),
                ),
            ),
        ),
    )
)
WORKFLOWS: Final = _json(
    show(
        MonitoringWorkflows,
        WorkflowsView(
            at=_NOW,
            heard_for=3_600,
            open=3,
            open_limit=10_000,
            overdue_count=1,
            overdue_limit=100,
            overdue=(
                OpenExecution(
                    execution_id=EXECUTION_ID,
                    workflow_id=WORKFLOW_ID,
                    workflow_name="test_workflow",
                    started_at=_NOW - 600,
                    overdue_by=45.5,
                    last_at=_NOW - 345.5,
                ),
            ),
            stuck_limit=100,
            windows=(WindowOfEnds(window=300, completed=99, failed=1),),
            workflows=(
                WorkflowView(
                    workflow_id=WORKFLOW_ID,
                    workflow_name="test_workflow",
                    windows=(WindowOfEnds(window=300, completed=99, failed=1),),
                    recent_ended=100,
                    recent_failed=1,
                    usual_failure_rate=0.01,
                    last_ended_at=_NOW - 1,
                    duration_p50=0.18,
                    duration_p95=0.32,
                    errors={"DataError": 1},
                ),
            ),
            slowest=(
                EndedExecution(
                    execution_id=EXECUTION_ID,
                    workflow_id=WORKFLOW_ID,
                    workflow_name="test_workflow",
                    status=ExecutionStatus.COMPLETED,
                    at=_NOW - 20,
                    duration=1.5,
                ),
            ),
        ),
    )
)
SYSTEM: Final = _json(
    show(
        MonitoringSystem,
        SystemView(
            at=_NOW,
            since=_NOW - 3_600,
            processes=(
                ProcessFigures(
                    instance=_PROCESS,
                    services=("orchestrator",),
                    presence="here",
                    host="node-1",
                    pid=17,
                    version="0.1.0",
                    uptime=3_600,
                    heard_at=_NOW - 2,
                    silent_for=2,
                    system=SystemFigures(
                        cpu=0.35,
                        memory=96_468_992,
                        threads=12,
                        open_files=31,
                        loop_lag_mean=0.0004,
                        loop_lag_max=0.012,
                        host_cpu=0.21,
                        host_memory_total=8_589_934_592,
                        host_memory_available=5_368_709_120,
                        network_received=20_480,
                        network_sent=18_432,
                    ),
                ),
            ),
            hosts=(
                HostFigures(
                    host="node-1",
                    processes=1,
                    cpu=0.35,
                    memory=96_468_992,
                    threads=12,
                    host_cpu=0.21,
                    host_memory_total=8_589_934_592,
                    host_memory_available=5_368_709_120,
                    network_received=20_480,
                    network_sent=18_432,
                ),
            ),
            gone=(
                GoneProcess(
                    instance=_GONE,
                    services=("data_agent",),
                    why="silent",
                    host="node-2",
                    pid=21,
                    version="0.1.0",
                    uptime=60,
                    heard_at=_NOW - 30,
                    silent_for=30,
                ),
            ),
        ),
    )
)
QUEUES: Final = _json(
    show(
        MonitoringQueues,
        QueuesView(
            at=_NOW,
            heard_for=3_600,
            queues=(
                QueueView(
                    name="data_agent",
                    family="data_agent",
                    owner="data_agent",
                    ready=12,
                    unacked=0,
                    consumers=0,
                    measured_at=_NOW - 4,
                    period=30,
                    growth_rate=0.4,
                    in_rate=0.4,
                    out_rate=0.0,
                ),
            ),
            missing=("plugin_agent",),
            dead_letters=DeadLetterFigures(stored=3, arrived=0, window=300, limit=1_000, waiting=0, unstorable=0),
        ),
    )
)

PROBLEMS: Final[dict[int, dict[str, Any]]] = {
    503: {
        "type": "urn:conclave:problem:unavailable",
        "title": "Something that this answer needs is away",
        "status": 503,
        "detail": "no answer from the monitor within 1.8 s; executions go on without it, and /health and the executions"
        " themselves can be asked meanwhile",
        "view": "metrics",
    },
}
