"""What becomes of executions and their steps: counted by the orchestrator, from the log entries that it appended.

Of several replicas each counts what it appended itself, so together they count everything once.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.history import ExecutionStatus, StepStatus
from services.runtime.telemetry import buckets
from services.runtime.telemetry.bounds import UNKNOWN, elapsed
from services.runtime.telemetry.unlocked import Amount, unlocked, unlocked_histogram

ENDS = tuple(status for status in ExecutionStatus if status.ended)
STEP_ENDS = tuple(status for status in StepStatus if status.ended)

# What ``StepCounts`` counts, beside the statuses that a step may end with.
DISPATCHED: Final = "dispatched"
RETRIED: Final = "retried"
TIMED_OUT: Final = "timed out"
RESENT: Final = "resent: "

_ACTION = ["agent_type", "action"]
_MOST_ACTIONS = 1_000


class WorkflowMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter("conclave_executions_started_total", "Executions that were started", registry=registry)
        ended = Counter(
            "conclave_executions_ended_total", "Executions that ended, by how", ["status"], registry=registry
        )
        duration = Histogram(
            "conclave_execution_duration_seconds",
            "Time from the start of an execution to its end",
            ["status"],
            buckets=buckets.EXECUTIONS,
            registry=registry,
        )
        self._ended = {status: (ended.labels(status.value), duration.labels(status.value)) for status in ENDS}
        self._refused = Counter(
            "conclave_starts_refused_total", "Starts that were refused, by the code", ["code"], registry=registry
        )
        self._open = Gauge(
            "conclave_executions_open",
            "Executions that have not ended, in the whole system, as this replica last counted them; the count stops"
            " at the limit of open executions",
            registry=registry,
        )
        self._waiting = Gauge(
            "conclave_starts_waiting", "Starts that this replica holds until there is room for them", registry=registry
        )
        self._late = Counter(
            "conclave_late_results_total",
            "Results that changed nothing: the step had ended, another attempt of it was under way, or the result had"
            " come before",
            registry=registry,
        )
        self._steps = _StepMetrics(registry)
        self._actions: dict[tuple[str, str], StepCounts] = {}
        commit_items = Histogram(
            "conclave_commit_items",
            "Messages that were committed together",
            buckets=buckets.ITEMS,
            registry=registry,
        )
        record = Histogram(
            "conclave_commit_record_seconds",
            "Time that a commit took to be decided and appended to the logs",
            buckets=buckets.BROKER,
            registry=registry,
        )
        tell = Histogram(
            "conclave_commit_tell_seconds",
            "Time that a commit took to be published and acked once it was appended",
            buckets=buckets.BROKER,
            registry=registry,
        )
        self._commit_items = unlocked_histogram(commit_items)
        self._record, self._tell = unlocked_histogram(record), unlocked_histogram(tell)
        self._put_off = Counter(
            "conclave_commits_put_off_total",
            "Commits that had to wait and begin anew, because the store or the broker was away",
            registry=registry,
        )

    # ---- executions

    def started(self) -> None:
        self._started.inc()

    def ended(self, status: ExecutionStatus, seconds: float) -> None:
        counter, duration = self._ended[status]
        counter.inc()
        duration.observe(elapsed(seconds))

    def start_refused(self, code: str) -> None:
        """``code``: one of those that ``Refused`` allows."""
        self._refused.labels(code).inc()

    def admission(self, executions_open: Callable[[], float], starts_waiting: Callable[[], float]) -> None:
        """From now on these say how many there are."""
        self._open.set_function(executions_open)
        self._waiting.set_function(starts_waiting)

    def late_results(self, count: int) -> None:
        self._late.inc(count)

    # ---- steps

    def steps(self, agent_type: str, action: str) -> "StepCounts":
        """Where what becomes of one action's steps is counted. Types come and go while a process lives: the first
        thousand actions are told apart, all others are one."""
        found = self._actions.get((agent_type, action))
        if found is None and len(self._actions) >= _MOST_ACTIONS:
            agent_type, action = UNKNOWN, UNKNOWN
            found = self._actions.get((agent_type, action))
        if found is None:
            found = self._actions[agent_type, action] = StepCounts(self._steps, agent_type, action)
        return found

    # ---- commits

    def recorded(self, items: int, seconds: float) -> None:
        self._commit_items.observe(items)
        self._record.observe(seconds)

    def told(self, seconds: float) -> None:
        self._tell.observe(seconds)

    def put_off(self) -> None:
        self._put_off.inc()


class _StepMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.dispatched = Counter(
            "conclave_steps_dispatched_total", "Attempts of steps that were sent to agents", _ACTION, registry=registry
        )
        self.ended = Counter(
            "conclave_steps_ended_total",
            "Steps that ended: succeeded, failed, skipped or cancelled",
            [*_ACTION, "status"],
            registry=registry,
        )
        self.wait = Histogram(
            "conclave_step_wait_seconds",
            "Time from when an attempt was sent until its work began, by the clock of the agent's host",
            _ACTION,
            buckets=buckets.WORK,
            registry=registry,
        )
        self.run = Histogram(
            "conclave_step_run_seconds",
            "Time from when the work of an attempt began until it was done; not of what came from the cache",
            _ACTION,
            buckets=buckets.WORK,
            registry=registry,
        )
        self.retries = Counter(
            "conclave_step_retries_total",
            "Attempts that were sent because the one before them had failed",
            _ACTION,
            registry=registry,
        )
        self.timeouts = Counter(
            "conclave_step_timeouts_total",
            "Attempts that failed because they took too long, or because nothing was heard of them",
            _ACTION,
            registry=registry,
        )
        self.resends = Counter(
            "conclave_step_resends_total",
            "Attempts that were sent once more: nothing was heard of them (lease), or the bus keeps nothing (restart)",
            [*_ACTION, "reason"],
            registry=registry,
        )


class StepCounts:
    """What becomes of one action's steps."""

    __slots__ = ("_amounts", "_run", "_wait")

    def __init__(self, metrics: _StepMetrics, agent_type: str, action: str) -> None:
        counters: dict[str, Counter] = {
            DISPATCHED: metrics.dispatched.labels(agent_type, action),
            RETRIED: metrics.retries.labels(agent_type, action),
            TIMED_OUT: metrics.timeouts.labels(agent_type, action),
            **{status: metrics.ended.labels(agent_type, action, status.value) for status in STEP_ENDS},
            **{RESENT + reason: metrics.resends.labels(agent_type, action, reason) for reason in ("lease", "restart")},
        }
        self._amounts: dict[str, Amount] = {what: unlocked(counter) for what, counter in counters.items()}
        self._wait = unlocked_histogram(metrics.wait.labels(agent_type, action))
        self._run = unlocked_histogram(metrics.run.labels(agent_type, action))

    def add(self, what: str) -> None:
        """One more; ``what``: DISPATCHED, RETRIED, TIMED_OUT, RESENT with its reason, or how a step ended."""
        self._amounts[what].value += 1

    def waited(self, seconds: float) -> None:
        """From when an attempt was sent until its work began."""
        self._wait.observe(elapsed(seconds))

    def ran(self, seconds: float) -> None:
        """From when its work began until it was done."""
        self._run.observe(elapsed(seconds))
