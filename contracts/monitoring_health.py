"""What the monitor found out about the system: what is wrong, and how services, queues, agents and workflows do.

Times are epoch seconds by the monitor's clock, durations seconds, rates per second. ``heard_for`` is how long the
answering monitor has listened; what it counts of events and reports began then, so that young figures are small
figures. A list that is bounded says with ``complete`` or a limit that there is more.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from contracts.agents import AgentStatus
from contracts.envelope import Contract
from contracts.history import ExecutionStatus
from contracts.monitoring import CheckResult

# ---- health


class Severity(StrEnum):
    CRITICAL = "critical"  # nothing, or nothing new, gets done
    ERROR = "error"  # a part does not work
    WARNING = "warning"  # it works, and somebody should look


class HealthStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"  # there are problems, none of them critical
    DOWN = "down"  # there is a critical one


class Problem(Contract):
    """Something that is wrong. ``subject`` is what it is about, as ``kind:name`` (``service:registry``,
    ``queue:orchestrator.starts``, ``agent_type:data_agent``, ``workflow:NAME``, ``store``, ``bus``); ``code`` names the
    kind of problem, the same in every release; ``since`` is when the monitor first saw it."""

    code: str
    severity: Severity
    subject: str
    what: str
    since: float
    what_to_do: str


class Component(Contract):
    """Something that the monitor itself tried; empty ``fault`` if it answered."""

    name: str
    fault: str = ""

    @property
    def ok(self) -> bool:
        return not self.fault


class InstanceHealth(Contract):
    """A process in which a service runs: when it last reported, and the checks that its service does not pass.
    ``silent``: no report came when the third one was due."""

    instance: str
    host: str
    pid: int
    version: str
    started_at: float
    heard_at: float
    silent: bool = False
    ready: bool
    faults: tuple[CheckResult, ...] = ()


class ServiceHealth(Contract):
    """A service, and where it runs. ``consumers`` is how many take from the queue that it is known by, None where it
    has none or that could not be measured; ``expected``: the system does not do its work without it."""

    service: str
    expected: bool
    consumers: int | None = None
    instances: tuple[InstanceHealth, ...] = ()


class HealthView(Contract):
    """The whole in one word, and why. ``settled``: the monitor has listened for long enough that what it has not heard
    of is not there; until then it does not count what it misses as a problem."""

    status: HealthStatus
    at: float
    heard_for: float
    settled: bool
    problems: tuple[Problem, ...] = ()
    components: tuple[Component, ...] = ()
    services: tuple[ServiceHealth, ...] = ()


# ---- queues


class QueueView(Contract):
    """A queue, or, as ``family`` without ``name``, all the queues of agents' instances of a type together. ``ready``
    waits, ``unacked`` is in hand (None: the broker does not say). ``owner`` is the service that takes from it; the
    agent type where no host of it is known. Rates are over ``period`` seconds: ``out_rate`` is how many were
    received from it, redeliveries not counted, ``in_rate`` is that and how much it grew (``growth_rate``); None
    where no reports or no two measurements tell. ``lag``: of those received lately half, and 95 %, had waited at
    most this long."""

    name: str = ""
    family: str
    queues: int = 1
    owner: str = ""
    ready: int
    unacked: int | None = None
    consumers: int
    measured_at: float
    period: float = 0.0
    growth_rate: float | None = None
    in_rate: float | None = None
    out_rate: float | None = None
    lag_p50: float | None = None
    lag_p95: float | None = None


class DeadLetterFigures(Contract):
    """``stored`` and ``arrived`` (within the last ``window`` seconds) are counted up to ``limit``; ``waiting`` are on
    their way into the store, ``unstorable`` it cannot take. None: could not be counted."""

    stored: int | None = None
    arrived: int | None = None
    window: float
    limit: int
    waiting: int | None = None
    unstorable: int | None = None


class QueuesView(Contract):
    """``missing`` are queues that should exist and do not: nobody who takes from them has ever run. ``complete`` is
    False where there are more instances' queues than were measured."""

    at: float
    heard_for: float
    fault: str = ""
    queues: tuple[QueueView, ...] = ()
    missing: tuple[str, ...] = ()
    complete: bool = True
    dead_letters: DeadLetterFigures


# ---- agents


class HostView(Contract):
    """``available``: the registry counts on it. ``stopped``: it said that it ends; one that is neither is silent.
    ``seen_at``: when the registry last heard its heartbeat, one each ``heartbeat`` seconds."""

    host_id: str
    service: str
    available: bool
    stopped: bool = False
    seen_at: float
    heartbeat: float


class AgentFault(Contract):
    """An instance that does not work, and why."""

    agent_id: str
    status: AgentStatus
    error: str = ""


class ActionView(Contract):
    """Of one action over the last ``window`` seconds, as the hosts counted it. ``usual_failure_rate`` is that of the
    hour before, of the time before it failed where it does. ``failing``: more often than chance makes of the usual;
    of ``worst_calls`` within such a time ``worst_failed`` failed when it was worst. Durations: half, 95 % of the
    calls took at most this long; None without calls."""

    action: str
    window: float
    calls: int
    failed: int
    failure_rate: float | None = None
    usual_failure_rate: float | None = None
    failing: bool = False
    worst_calls: int | None = None
    worst_failed: int | None = None
    duration_p50: float | None = None
    duration_p95: float | None = None


class AgentTypeView(Contract):
    """An agent type that a host offered within the last day. ``statuses`` counts its agents, the default one among
    them; ``faults`` are the first of those in error. ``consumers`` take from its queue, in which ``waiting`` are."""

    agent_type: str
    description: str = ""
    hosts_available: int
    hosts_silent: int
    hosts: tuple[HostView, ...] = ()
    statuses: dict[AgentStatus, int] = Field(default_factory=dict)
    faults: tuple[AgentFault, ...] = ()
    last_heard_at: float | None = None
    consumers: int | None = None
    waiting: int | None = None
    actions: tuple[ActionView, ...] = ()


class AgentsView(Contract):
    """``complete`` is False where there are more agents than were read."""

    at: float
    heard_for: float
    fault: str = ""
    types: tuple[AgentTypeView, ...] = ()
    complete: bool = True


# ---- workflows


class OpenExecution(Contract):
    """An execution that has not ended and does not go on. ``overdue_by``: its timer should have fired that long ago.
    ``last_at``: when its log was last appended to."""

    execution_id: str
    workflow_id: str | None = None
    workflow_name: str
    started_at: float
    overdue_by: float | None = None
    last_at: float | None = None


class EndedExecution(Contract):
    """``errors`` is the type of each failed step's error, by step."""

    execution_id: str
    workflow_id: str | None = None
    workflow_name: str
    status: ExecutionStatus
    at: float
    duration: float | None = None
    errors: dict[str, str] = Field(default_factory=dict)


class WindowOfEnds(Contract):
    """How many executions ended in the last ``window`` seconds, each counted once."""

    window: float
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


class WorkflowView(Contract):
    """A workflow, by its id (if stored) and name. ``failing_since``: since then it fails more often than chance makes
    of ``usual_failure_rate``, by the ``recent`` ends. Durations are those of the latest ends.
    """

    workflow_id: str | None = None
    workflow_name: str
    windows: tuple[WindowOfEnds, ...] = ()
    recent_ended: int = 0
    recent_failed: int = 0
    usual_failure_rate: float | None = None
    failing_since: float | None = None
    last_ended_at: float
    duration_p50: float | None = None
    duration_p95: float | None = None
    errors: dict[str, int] = Field(default_factory=dict)


class WorkflowsView(Contract):
    """``open``, ``overdue_count`` and ``stuck_count`` are counted up to their limits; ``overdue`` and ``stuck`` are the
    first of them. ``windows`` are of all workflows; ``workflows`` are those that ended executions last, failing ones
    first."""

    at: float
    heard_for: float
    fault: str = ""
    open: int | None = None
    open_limit: int
    overdue_count: int = 0
    overdue_limit: int
    overdue: tuple[OpenExecution, ...] = ()
    stuck_count: int = 0
    stuck_limit: int
    stuck: tuple[OpenExecution, ...] = ()
    windows: tuple[WindowOfEnds, ...] = ()
    failing: int = 0
    workflows: tuple[WorkflowView, ...] = ()
    slowest: tuple[EndedExecution, ...] = ()
    recent_failures: tuple[EndedExecution, ...] = ()


View = Literal["health", "agents", "workflows", "queues"]
"""What of this may be asked for."""
