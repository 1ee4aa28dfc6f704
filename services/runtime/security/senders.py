"""Who may send which message. ``SENDERS`` is the whole of it; what stands in no row is refused.

A row says for each sender what the message must also be: ``anything`` for one that may send it whatever it says,
otherwise a function that holds its content against the signer. What no message says of itself, such as the type of the
agent that mail is for, is judged where it is known: see ``docs/agent_policy.md``.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from contracts.access import ApiKeyStored, CreateApiKey, RevokeApiKey, RotateApiKey
from contracts.audit import AccessRecorded
from contracts.dead_letters import DeadLetterSettled, DiscardDeadLetter, ReplayDeadLetter
from contracts.envelope import Envelope, Message
from contracts.execution import (
    DELEGATED_CLIENT,
    DELEGATED_ID,
    CancelAccepted,
    CancelExecution,
    DescribeExecution,
    ExecutionAccepted,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionDescribed,
    ExecutionFailed,
    ExecutionsAdvanced,
    Refused,
    RunSteps,
    StartExecution,
    StepResults,
    StepsCancelled,
    StepsProgressed,
    WakeExecutions,
)
from contracts.hosts import AgentReleased, AgentTaken, HostAnnounced, HostAssignment, HostHeartbeat, HostStopped
from contracts.monitoring import DescribeMonitoring, ProcessReported
from contracts.monitoring_views import MonitoringDescribed
from contracts.registry import (
    AgentCreated,
    AgentDeleted,
    AgentMail,
    AgentReply,
    AgentsFound,
    BroadcastMail,
    BroadcastSent,
    CreateAgent,
    DeleteAgent,
    FindAgents,
    SweepHosts,
)
from contracts.workflow import CreateWorkflow, DeleteWorkflow, WorkflowCreated, WorkflowDeleted
from services.runtime.security.policy import may_message
from services.runtime.security.principal import Principal, SenderKind


class ForbiddenSender(Exception):
    """Properly signed, by one who may not send this; ``detail`` says who, what and why not."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# ---- what a message must also be: each gives why it is refused, or nothing

Check = Callable[[Principal, Any], str]

_OF_A_HOST = re.compile(r"-[0-9a-f]{8}")


def anything(signer: Principal, message: Message) -> str:
    return ""


def _is_host_of(signer: Principal, host_id: str) -> bool:
    """Hosts call themselves ``NAME-xxxxxxxx``: their service's name and eight hexadecimal digits."""
    return host_id.startswith(signer.name) and _OF_A_HOST.fullmatch(host_id, len(signer.name)) is not None


def _its_own_type(signer: Principal, message: StepResults | StepsProgressed | CreateAgent) -> str:
    # No type at all is none of its own, also for one that answers for every type.
    if message.agent_type and signer.answers_for(message.agent_type):
        return ""
    return f"it does not answer for agent type {message.agent_type!r}"


def _itself(signer: Principal, message: HostHeartbeat | HostStopped | AgentTaken | AgentReleased) -> str:
    return "" if _is_host_of(signer, message.host_id) else f"it is not host {message.host_id!r}"


def _what_it_is(signer: Principal, message: HostAnnounced) -> str:
    if not _is_host_of(signer, message.host_id) or message.service != signer.name:
        return f"it is not host {message.host_id!r} of service {message.service!r}"
    others = [one.agent_type for one in message.descriptors if not signer.answers_for(one.agent_type)]
    return _says_how(signer, others[0]) if others else ""


def _says_how(signer: Principal, agent_type: str) -> str:
    return (
        f"its key does not answer for agent type {agent_type!r} (`python -m services message-keys rotate {signer.name}"
        f" --agent-types ...,{agent_type}` makes one that does)"
    )


def _in_its_name(signer: Principal, message: StartExecution) -> str:
    return "" if message.client == signer.name else f"it starts in the name of {message.client!r}, not in its own"


def _delegated(signer: Principal, message: StartExecution) -> str:
    if not message.client.startswith(DELEGATED_CLIENT):
        return f"what an agent starts has a client that begins with {DELEGATED_CLIENT!r}, not {message.client!r}"
    return _a_delegated_one(signer, message)


def _a_delegated_one(signer: Principal, message: StartExecution | CancelExecution | DescribeExecution) -> str:
    if not signer.may_start:
        return "the agent policy does not let it start workflows"
    if not message.execution_id.startswith(DELEGATED_ID):
        return f"it is about executions that agents start, {DELEGATED_ID}..., not {message.execution_id!r}"
    return ""


def _if_it_may_message(signer: Principal, message: AgentMail | BroadcastMail | FindAgents) -> str:
    return "" if signer.may_message else "the agent policy does not let it message anyone"


def _only_failures(signer: Principal, message: StepResults) -> str:
    return "it performs no steps" if any(result.ok for result in message.results) else ""


def _only_an_error(signer: Principal, message: AgentReply) -> str:
    return "it answers for no agent" if message.error is None else ""


# ---- the table

EDGE, ORCHESTRATOR, REGISTRY, DEAD_LETTERS, ACCESS = "edge", "orchestrator", "registry", "dead_letters", "access"
AUDITOR, MONITOR = "auditor", "monitor"
_SERVICES = frozenset((EDGE, ORCHESTRATOR, REGISTRY, DEAD_LETTERS, ACCESS, AUDITOR, MONITOR))
AGENT, CLIENT = "an agent host", "a client"

SENDERS: Mapping[type[Message], Mapping[str, Check]] = {
    # executions: commands
    StartExecution: {EDGE: anything, CLIENT: _in_its_name, AGENT: _delegated},
    CancelExecution: {EDGE: anything, CLIENT: anything, AGENT: _a_delegated_one},
    DescribeExecution: {EDGE: anything, AGENT: _a_delegated_one},
    CreateWorkflow: {EDGE: anything},
    DeleteWorkflow: {EDGE: anything},
    # executions: answers and events
    ExecutionAccepted: {ORCHESTRATOR: anything},
    CancelAccepted: {ORCHESTRATOR: anything},
    ExecutionDescribed: {ORCHESTRATOR: anything},
    WorkflowCreated: {ORCHESTRATOR: anything},
    WorkflowDeleted: {ORCHESTRATOR: anything},
    ExecutionsAdvanced: {ORCHESTRATOR: anything},
    ExecutionCompleted: {ORCHESTRATOR: anything},
    ExecutionFailed: {ORCHESTRATOR: anything},
    ExecutionCancelled: {ORCHESTRATOR: anything},
    # steps
    RunSteps: {ORCHESTRATOR: anything},
    StepsCancelled: {ORCHESTRATOR: anything},
    WakeExecutions: {ORCHESTRATOR: anything},
    StepResults: {AGENT: _its_own_type, REGISTRY: _only_failures},
    StepsProgressed: {AGENT: _its_own_type},
    # hosts
    HostAnnounced: {AGENT: _what_it_is},
    HostHeartbeat: {AGENT: _itself},
    HostStopped: {AGENT: _itself},
    AgentTaken: {AGENT: _itself},
    AgentReleased: {AGENT: _itself},
    HostAssignment: {REGISTRY: anything},
    # agents
    CreateAgent: {EDGE: anything, AGENT: _its_own_type},
    DeleteAgent: {EDGE: anything},
    FindAgents: {EDGE: anything, AGENT: _if_it_may_message},
    AgentCreated: {REGISTRY: anything},
    AgentDeleted: {REGISTRY: anything},
    AgentsFound: {REGISTRY: anything},
    SweepHosts: {REGISTRY: anything},
    # messages between agents; the registry's are copies of broadcasts
    AgentMail: {EDGE: anything, REGISTRY: anything, AGENT: _if_it_may_message},
    AgentReply: {AGENT: anything, REGISTRY: _only_an_error},
    BroadcastMail: {EDGE: anything, AGENT: _if_it_may_message},
    BroadcastSent: {REGISTRY: anything},
    # dead letters
    ReplayDeadLetter: {EDGE: anything},
    DiscardDeadLetter: {EDGE: anything},
    DeadLetterSettled: {DEAD_LETTERS: anything},
    # API keys and the audit log
    CreateApiKey: {EDGE: anything},
    RotateApiKey: {EDGE: anything},
    RevokeApiKey: {EDGE: anything},
    ApiKeyStored: {ACCESS: anything},
    AccessRecorded: {EDGE: anything},
    # how processes do
    ProcessReported: {EDGE: anything, AGENT: anything, **dict.fromkeys(sorted(_SERVICES - {EDGE}), anything)},
    DescribeMonitoring: {EDGE: anything},
    MonitoringDescribed: {MONITOR: anything},
    # of anybody who takes commands
    Refused: {
        ORCHESTRATOR: anything,
        REGISTRY: anything,
        DEAD_LETTERS: anything,
        ACCESS: anything,
        MONITOR: anything,
    },
}


_ROWS = {message_class.TYPE: row for message_class, row in SENDERS.items()}


def check_sender(signer: Principal, envelope: Envelope[Any]) -> None:
    """
    Raises:
        ForbiddenSender: the signer may not send this, or not what it says in it.
    """
    message = envelope.payload
    retried = envelope.retry_count > 0 and type(message) is AgentMail and signer.kind is SenderKind.AGENT
    # Mail that is tried again is signed by the host that failed on it and names its first sender. Whether that host may
    # is known where its agent is: see Mailroom.
    reason = "" if retried else _misnamed(signer, envelope) or why_not(signer, message)
    if reason:
        raise ForbiddenSender(f"{signer} may not send this {message.TYPE}: {reason}")


def why_not(signer: Principal, message: Message) -> str:
    """Why this signer may not send this message, or nothing if it may."""
    row = _ROWS.get(message.TYPE, {})
    check = row.get(_place(signer))
    if check is None:
        return f"only {' and '.join(sorted(row))} may" if row else "nobody may"
    return check(signer, message)


def may_send_to(signer: Principal, agent_id: str, agent_type: str) -> bool:
    """Whether the signer may send messages to this agent: agents to those that the policy says, services to all."""
    if signer.kind is not SenderKind.AGENT:
        return True
    return may_message(signer.may_message, agent_id, agent_type)


def _place(signer: Principal) -> str:
    match signer.kind:
        case SenderKind.SERVICE:
            return signer.name if signer.name in _SERVICES else ""
        case SenderKind.AGENT:
            return AGENT
        case SenderKind.CLIENT:
            return CLIENT


def _misnamed(signer: Principal, envelope: Envelope[Any]) -> str:
    """What is wrong with what the envelope says of its sender, and on whose behalf it is."""
    agent = signer.kind is SenderKind.AGENT
    if not (_is_host_of(signer, envelope.sender) if agent else envelope.sender == signer.name):
        return f"its sender is said to be {envelope.sender!r}"
    # Whoever answers says of the answer what the question said.
    if envelope.actor and signer.kind is not SenderKind.SERVICE and type(envelope.payload) is not AgentReply:
        return f"it is said to be on behalf of {envelope.actor!r}, which only the edge can say"
    return ""
