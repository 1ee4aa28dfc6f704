"""Which messages become records, and what each says that it is about. Every type of the catalog is in here once.

What is not a record: work on its way (steps, their results and progress, mail between agents and its answers), signs of
life, and what a service tells itself. Who started the work, and what came of it, is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from contracts import access, audit, dead_letters, execution, hosts, monitoring, monitoring_views, registry, workflow
from contracts.audit import AuditResult

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a type is recorded: where in the message its ``subject`` stands (the first place that has one), what its
    being published means, whether it answers another message, and what ``notes`` of it belong into the detail, by the
    word that is put before each."""

    result: AuditResult
    subject: tuple[Path, ...] = ()
    notes: Mapping[str, Path] | None = None
    answers: bool = False
    once: bool = False  # it can happen to its subject only once, so said again it is the same happening


def _command(*subject: Path, notes: Mapping[str, Path] | None = None) -> Kind:
    return Kind(AuditResult.SENT, subject, notes)


def _answer(*subject: Path, notes: Mapping[str, Path] | None = None) -> Kind:
    return Kind(AuditResult.DONE, subject, notes, answers=True)


def _end(result: AuditResult) -> Kind:
    return Kind(result, (("execution_id",),), once=True)


COMMANDS: Final[Mapping[str, Kind]] = {
    execution.StartExecution.TYPE: _command(("execution_id",), notes={"workflow": ("workflow_id",)}),
    execution.CancelExecution.TYPE: _command(("execution_id",)),
    execution.DescribeExecution.TYPE: _command(("execution_id",)),
    workflow.CreateWorkflow.TYPE: _command(("workflow_id",)),
    workflow.DeleteWorkflow.TYPE: _command(("workflow_id",)),
    registry.CreateAgent.TYPE: _command(("agent_id",), ("agent_type",), notes={"type": ("agent_type",)}),
    registry.DeleteAgent.TYPE: _command(("agent_id",)),
    registry.FindAgents.TYPE: _command(("filter", "agent_type")),
    registry.BroadcastMail.TYPE: _command(("filter", "agent_type"), notes={"from": ("sender_id",)}),
    dead_letters.ReplayDeadLetter.TYPE: _command(("id",)),
    dead_letters.DiscardDeadLetter.TYPE: _command(("id",)),
    access.CreateApiKey.TYPE: _command(("key", "id"), notes={"for": ("key", "name"), "role": ("key", "role")}),
    access.RotateApiKey.TYPE: _command(("id",), notes={"new": ("new_id",)}),
    access.RevokeApiKey.TYPE: _command(("id",)),
}

ANSWERS: Final[Mapping[str, Kind]] = {
    execution.ExecutionAccepted.TYPE: _answer(("execution_id",)),
    execution.CancelAccepted.TYPE: _answer(("execution_id",), notes={"status": ("status",)}),
    execution.ExecutionDescribed.TYPE: _answer(("execution_id",), notes={"status": ("status",)}),
    workflow.WorkflowCreated.TYPE: _answer(("workflow", "workflow_id")),
    workflow.WorkflowDeleted.TYPE: _answer(("workflow_id",)),
    registry.AgentCreated.TYPE: _answer(("agent", "agent_id")),
    registry.AgentDeleted.TYPE: _answer(("agent_id",)),
    registry.AgentsFound.TYPE: _answer(),
    registry.BroadcastSent.TYPE: _answer(("broadcast_id",)),
    dead_letters.DeadLetterSettled.TYPE: _answer(("id",)),
    access.ApiKeyStored.TYPE: _answer(("key", "id"), notes={"for": ("key", "name"), "role": ("key", "role")}),
    execution.Refused.TYPE: Kind(AuditResult.REFUSED, (("subject",),), {"code": ("code",)}, answers=True),
}

EVENTS: Final[Mapping[str, Kind]] = {
    execution.ExecutionCompleted.TYPE: _end(AuditResult.DONE),
    execution.ExecutionFailed.TYPE: _end(AuditResult.FAILED),
    execution.ExecutionCancelled.TYPE: _end(AuditResult.DONE),
    hosts.HostAnnounced.TYPE: Kind(AuditResult.DONE, (("host_id",),), {"service": ("service",)}),
    hosts.HostStopped.TYPE: Kind(AuditResult.DONE, (("host_id",),)),
}

ACCESS: Final = audit.AccessRecorded.TYPE

RECORDED: Final[Mapping[str, Kind]] = {**COMMANDS, **ANSWERS, **EVENTS}

NOT_RECORDED: Final = frozenset(
    message.TYPE
    for message in (
        execution.RunSteps,
        execution.StepResults,
        execution.StepsProgressed,
        execution.StepsCancelled,
        execution.WakeExecutions,
        execution.ExecutionsAdvanced,
        hosts.HostHeartbeat,
        hosts.HostAssignment,
        hosts.AgentTaken,
        hosts.AgentReleased,
        registry.AgentMail,
        registry.AgentReply,
        registry.SweepHosts,
        monitoring.ProcessReported,
        monitoring.DescribeMonitoring,
        monitoring_views.MonitoringDescribed,
    )
)
