"""What the agents of a process do, by their type: counted by their host (``hosting.performer``, ``hosting.mailroom``).

Agent types are those that the host runs and actions those that its agents have; whatever else a message names is
``unknown``.
"""

from collections.abc import Mapping
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.runtime.telemetry import buckets
from services.runtime.telemetry.bounds import elapsed
from services.runtime.telemetry.unlocked import Amount, Distribution, unlocked, unlocked_histogram


class ActionOutcome(StrEnum):
    """How one attempt of one step ended at an agent."""

    SUCCEEDED = "succeeded"
    CACHED = "cached"  # answered from the cache: no agent worked
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"  # its execution was
    CRASHED = "crashed"  # it ended its process, or tried to
    REFUSED = "refused"  # never begun: no such agent or action, not granted, inputs that do not fit, a stopped agent


class MailOutcome(StrEnum):
    """What became of a message to an agent."""

    ANSWERED = "answered"
    RETRIED = "retried"  # it failed, and was published once more
    FAILED = "failed"  # it failed for good: whoever asked was told, or it became a dead letter
    REFUSED = "refused"  # its sender may not send it


RAN = frozenset({ActionOutcome.SUCCEEDED, ActionOutcome.FAILED, ActionOutcome.TIMEOUT, ActionOutcome.CRASHED})
"""The outcomes of work that an agent was given time for, up to its end."""


class AgentMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "conclave_agent_actions_total",
            "Attempts of steps that agents were given, by how they ended",
            ["agent_type", "action", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "conclave_agent_action_duration_seconds",
            "Time that an agent worked on an attempt that succeeded, failed, timed out or crashed",
            ["agent_type", "action"],
            buckets=buckets.WORK,
            registry=registry,
        )
        self._in_progress = Gauge(
            "conclave_agent_actions_in_progress",
            "Attempts that agents work on now",
            ["agent_type", "action"],
            registry=registry,
        )
        self._mail = Counter(
            "conclave_agent_messages_total",
            "Messages to agents, by what became of them",
            ["agent_type", "outcome"],
            registry=registry,
        )
        self._actions: dict[tuple[str, str], ActionCounts] = {}

    def action(self, agent_type: str, action: str) -> "ActionCounts":
        found = self._actions.get((agent_type, action))
        if found is None:
            found = self._actions[agent_type, action] = ActionCounts(
                {one: unlocked(self._ended.labels(agent_type, action, one.value)) for one in ActionOutcome},
                unlocked_histogram(self._seconds.labels(agent_type, action)),
            )
            self._in_progress.labels(agent_type, action).set_function(found.in_progress)
        return found

    def mail(self, agent_type: str, outcome: MailOutcome) -> None:
        self._mail.labels(agent_type, outcome.value).inc()


class ActionCounts:
    """What is counted of one action."""

    __slots__ = ("_ended", "_running", "_seconds")

    def __init__(self, ended: Mapping[ActionOutcome, Amount], seconds: Distribution) -> None:
        self._ended = ended
        self._seconds = seconds
        self._running = 0

    def in_progress(self) -> int:
        return self._running

    def begun(self) -> None:
        """An agent works on an attempt."""
        self._running += 1

    def left(self) -> None:
        """It does not any more."""
        self._running -= 1

    def ended(self, outcome: ActionOutcome, seconds: float) -> None:
        """An attempt ended; ``seconds`` are counted where an agent worked on it up to the end."""
        self._ended[outcome].value += 1
        if outcome in RAN:
            self._seconds.observe(elapsed(seconds))
