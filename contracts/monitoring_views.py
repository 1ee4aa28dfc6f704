"""What the monitor answers: figures of the work done and of the processes that do it, and the frame of every answer.

Durations are in seconds, rates per second, ages and times of day in epoch seconds by the monitor's clock, memory in
bytes. What is counted is what processes reported since this monitor began: see ``MetricsView.since``.
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from contracts.envelope import Contract, Message
from contracts.monitoring import SystemFigures, ViewName
from contracts.monitoring_health import AgentsView, HealthView, QueuesView, WorkflowsView

# ---- figures of the work


class Spread(Contract):
    """How something measured was spread: seconds, unless the field says otherwise. All but ``count`` are None where
    nothing was measured. Percentiles are estimated from a histogram's buckets as Prometheus's ``histogram_quantile``
    does, so they are off by less than their bucket is wide; one beyond the highest bound is given as that bound."""

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class ExecutionFigures(Contract):
    """``ended`` by status: completed, failed, cancelled. ``starts_refused`` by code. ``late_results`` came for steps
    that had ended, or came twice, and changed nothing. As last reported, whatever the window: ``open`` executions
    have not ended, ``starts_waiting`` wait for room."""

    started: int = 0
    started_per_second: float = 0.0
    ended: dict[str, int] = Field(default_factory=dict)
    ended_per_second: float = 0.0
    duration: Spread = Spread()
    starts_refused: dict[str, int] = Field(default_factory=dict)
    late_results: int = 0
    open: int = 0
    starts_waiting: int = 0


class StepFigures(Contract):
    """The steps of one action as the orchestrator saw them. ``runs`` are attempts that were sent, ``ended`` are steps
    by status: succeeded, failed, skipped, cancelled. ``success_rate`` is of those that succeeded or failed, from 0 to
    1. ``wait`` is from when an attempt was sent until its work began, ``run`` until it was done. ``retries`` are
    attempts after a failed one, ``timeouts`` attempts that took too long, ``resends`` attempts that were sent again
    because nothing was heard of them."""

    agent_type: str
    action: str
    runs: int = 0
    runs_per_second: float = 0.0
    ended: dict[str, int] = Field(default_factory=dict)
    success_rate: float | None = None
    wait: Spread = Spread()
    run: Spread = Spread()
    retries: int = 0
    timeouts: int = 0
    resends: int = 0


class ActionFigures(Contract):
    """One action as the agents' hosts saw it. ``calls`` are attempts that ended, ``outcomes`` how: succeeded, cached,
    failed, timeout, crashed, cancelled, refused. ``success_rate``: succeeded and cached, of all but cancelled and
    refused. ``response`` is the time that agents worked on those that succeeded, failed, timed out or crashed.
    ``in_progress``: as last reported, whatever the window."""

    agent_type: str
    action: str
    calls: int = 0
    calls_per_second: float = 0.0
    outcomes: dict[str, int] = Field(default_factory=dict)
    success_rate: float | None = None
    response: Spread = Spread()
    in_progress: int = 0


class MailFigures(Contract):
    """Messages to the agents of a type, by what became of them: answered, retried, failed, refused."""

    agent_type: str
    outcomes: dict[str, int] = Field(default_factory=dict)


class CommitFigures(Contract):
    """What the orchestrators wrote. ``items``: messages that were committed together. ``record`` is the time until a
    commit was in the log, ``tell`` the time from then until what follows from it was published. ``put_off``: commits
    that had to wait for the store or the broker."""

    commits: int = 0
    per_second: float = 0.0
    items: Spread = Spread()
    record: Spread = Spread()
    tell: Spread = Spread()
    put_off: int = 0


class QueueFigures(Contract):
    """What one service took from one family of queues. ``redelivered`` are among those ``received``. ``settled`` by
    outcome: acked, returned, dead_lettered. ``lag`` is from when a message was sent until it was taken and read, by the
    clocks of both. ``in_hand``: as last reported, whatever the window."""

    service: str
    queue: str
    received: int = 0
    received_per_second: float = 0.0
    redelivered: int = 0
    settled: dict[str, int] = Field(default_factory=dict)
    lag: Spread = Spread()
    in_hand: int = 0


class MessageFigures(Contract):
    """Messages of all services. ``published`` were confirmed by the broker, ``unroutable`` reached no queue,
    ``unconfirmed`` are tries to publish that failed, of which a message may have many; ``publish`` is the time a
    confirmation took. ``received``, ``redelivered`` and ``dead_lettered`` are the sums over ``queues``; ``refused`` are
    dead letters by reason. ``reconnects``: how often a service found its broker again."""

    published: int = 0
    published_per_second: float = 0.0
    unroutable: int = 0
    unconfirmed: int = 0
    publish: Spread = Spread()
    received: int = 0
    received_per_second: float = 0.0
    redelivered: int = 0
    dead_lettered: int = 0
    refused: dict[str, int] = Field(default_factory=dict)
    reconnects: int = 0
    queues: tuple[QueueFigures, ...] = ()


class HttpFigures(Contract):
    """Requests to the API, ``statuses`` by class (2xx, 4xx ...). ``duration`` is until the answer began, where it was a
    stream. ``in_progress``: as last reported, whatever the window."""

    requests: int = 0
    per_second: float = 0.0
    statuses: dict[str, int] = Field(default_factory=dict)
    duration: Spread = Spread()
    in_progress: int = 0


class WindowFigures(Contract):
    """What was reported within the last ``window`` seconds; ``seconds`` is the time that the figures are really of:
    less, where the monitor began later, or up to a twelfth more. Processes report every few seconds, so the latest is
    not in it yet. Actions and queues with nothing to say are left out; ``complete`` is False where so many of
    them are listed, the busiest, that there may be more."""

    window: int
    seconds: float
    executions: ExecutionFigures
    steps: tuple[StepFigures, ...] = ()
    agents: tuple[ActionFigures, ...] = ()
    mail: tuple[MailFigures, ...] = ()
    commits: CommitFigures
    messages: MessageFigures
    http: HttpFigures
    complete: bool = True


class MetricsView(Contract):
    """What was done, over each window. The answering monitor counts ``since``, what ``processes`` report;
    ``left_out``: series of theirs that it had no room for, which no figure has in it."""

    at: float
    since: float
    processes: int
    left_out: int = 0
    windows: tuple[WindowFigures, ...]


# ---- figures of the processes


class ProcessFigures(Contract):
    """A process that reports. ``services`` run in it, and the ones of them in ``not_ready`` are not ready for work.
    ``presence`` is here, or stopping: told to end, and still at work. ``heard_at`` is when the last report came, and
    ``silent_for`` how long ago that is; ``uptime`` is by the process's own clock."""

    instance: str
    services: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()
    presence: str
    host: str
    pid: int
    version: str
    uptime: float
    heard_at: float
    silent_for: float
    system: SystemFigures


class GoneProcess(Contract):
    """A process that reports no more. ``why`` is stopped (it was told to end) or silent (it crashed, hangs, or cannot
    reach the broker); ``uptime`` is how long it was there."""

    instance: str
    services: tuple[str, ...] = ()
    why: str
    host: str
    pid: int
    version: str
    uptime: float
    heard_at: float
    silent_for: float


class HostFigures(Contract):
    """A host by the processes on it that report: ``cpu`` (cores in use), ``memory`` and ``threads`` are their sums.
    What begins with ``host_`` and its network (bytes a second) are of the whole host, as one of them last saw it."""

    host: str
    processes: int
    cpu: float
    memory: int
    threads: int
    host_cpu: float
    host_memory_total: int
    host_memory_available: int
    network_received: float
    network_sent: float


class SystemView(Contract):
    """The processes that the answering monitor has heard of ``since``. ``gone`` are remembered for a quarter of an
    hour. ``refused``: reports of processes beyond the number that it keeps."""

    at: float
    since: float
    processes: tuple[ProcessFigures, ...] = ()
    hosts: tuple[HostFigures, ...] = ()
    gone: tuple[GoneProcess, ...] = ()
    refused: int = 0


# ---- the frame


class MonitoringDescribed(Message):
    """The view that was asked for, in the field of its name."""

    TYPE: ClassVar[str] = "monitoring.described.v1"

    view: ViewName
    health: HealthView | None = None
    metrics: MetricsView | None = None
    agents: AgentsView | None = None
    workflows: WorkflowsView | None = None
    system: SystemView | None = None
    queues: QueuesView | None = None

    @model_validator(mode="after")
    def _has_its_view(self) -> Self:
        there = [name.value for name in ViewName if getattr(self, name.value) is not None]
        if there != [self.view.value]:
            raise ValueError(f"expected the view {self.view.value} alone, found {', '.join(there) or 'none'}")
        return self
