"""What a host counts of the work of its agents."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from contracts.execution import RunSteps, StepResult
from services.runtime.agent import BaseAgent
from services.runtime.telemetry.agent_metrics import ActionCounts, ActionOutcome, AgentMetrics, MailOutcome
from services.runtime.telemetry.bounds import UNKNOWN
from services.runtime.telemetry.telemetry import Telemetry

_BY_ERROR: Mapping[str, ActionOutcome] = {
    "Timeout": ActionOutcome.TIMEOUT,
    "Cancelled": ActionOutcome.CANCELLED,
    "AgentCrashed": ActionOutcome.CRASHED,
    "AgentStopped": ActionOutcome.REFUSED,
    "UnknownAgent": ActionOutcome.REFUSED,
    "UnknownAction": ActionOutcome.REFUSED,
    "NotGranted": ActionOutcome.REFUSED,
    "InvalidInputs": ActionOutcome.REFUSED,
    "InputTooLarge": ActionOutcome.REFUSED,
}
"""By the type of an attempt's error; every other one has failed."""


class WorkCounts:
    """Counts attempts and mail.

    Args:
        defaults: the default agent of each type that the host runs. What is for other types, or for actions that an
            agent does not have, is counted under ``unknown``: anybody may name such.
    """

    def __init__(self, metrics: AgentMetrics, defaults: Mapping[str, BaseAgent]) -> None:
        self._metrics = metrics
        self._defaults = defaults
        for agent in defaults.values():
            for action in agent.capabilities:
                # From 0 on: what Prometheus first sees as a finished number has not increased, and work that was done
                # would be missed (the alert ConclaveAgentWorkNotDone).
                self.of(agent, action)

    def of(self, agent: BaseAgent, action: str) -> ActionCounts:
        return self._metrics.action(agent.agent_type, action if agent.offers(action) else UNKNOWN)

    def ended(self, message: RunSteps, agent: BaseAgent | None, result: StepResult) -> None:
        """``agent``: whose the attempt was; None where there was none."""
        agent = agent or self._defaults.get(message.agent_type)
        counts = self._metrics.action(UNKNOWN, UNKNOWN) if agent is None else self.of(agent, message.action)
        counts.ended(outcome_of(result), (result.finished_at or 0.0) - (result.started_at or 0.0))

    def mail(self, agent_type: str, outcome: MailOutcome) -> None:
        self._metrics.mail(agent_type if agent_type in self._defaults else UNKNOWN, outcome)


class Uncounted(WorkCounts):
    """For work that nobody counts."""

    def __init__(self) -> None:
        super().__init__(AgentMetrics(CollectorRegistry()), {})
        self._nothing = self._metrics.action(UNKNOWN, UNKNOWN)

    def of(self, agent: BaseAgent, action: str) -> ActionCounts:
        return self._nothing

    def ended(self, message: RunSteps, agent: BaseAgent | None, result: StepResult) -> None:
        pass

    def mail(self, agent_type: str, outcome: MailOutcome) -> None:
        pass


def counts_for(telemetry: Telemetry | None, defaults: Mapping[str, BaseAgent]) -> WorkCounts:
    """What counts for a process with that telemetry."""
    if telemetry is None or not telemetry.enabled:
        return Uncounted()
    return WorkCounts(telemetry.metrics(AgentMetrics), defaults)


def outcome_of(result: StepResult) -> ActionOutcome:
    """By what the result says: an agent that names its own error ``Timeout`` has timed out."""
    if result.error is not None:
        return _BY_ERROR.get(result.error.type, ActionOutcome.FAILED)
    return ActionOutcome.CACHED if result.cached else ActionOutcome.SUCCEEDED
