"""A message of each type that is recorded, and the subject that its record must have."""

from contracts.access import ApiKey, ApiKeyStored, CreateApiKey, RevokeApiKey, Role, RotateApiKey
from contracts.agents import AgentRecord
from contracts.dead_letters import DeadLetterSettled, DiscardDeadLetter, ReplayDeadLetter
from contracts.envelope import Message
from contracts.execution import (
    CancelAccepted,
    CancelExecution,
    DescribeExecution,
    ExecutionAccepted,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionDescribed,
    ExecutionFailed,
    Refused,
    StartExecution,
)
from contracts.history import ExecutionStatus, StepError
from contracts.hosts import HostAnnounced, HostStopped
from contracts.registry import (
    AgentCreated,
    AgentDeleted,
    AgentFilter,
    AgentsFound,
    BroadcastMail,
    BroadcastSent,
    CreateAgent,
    DeleteAgent,
    FindAgents,
)
from contracts.workflow import CreateWorkflow, DeleteWorkflow, Fault, Workflow, WorkflowCreated, WorkflowDeleted

SECRET = "the-content-of-the-message"
KEY_ID = "ck_" + "a" * 12
NEW_ID = "ck_" + "b" * 12
KEY = ApiKey(id=KEY_ID, name="zoe", role=Role.VIEWER, secret_hash="0" * 64, created_at=1.0)
AGENT = AgentRecord(agent_id="chooser", agent_type="decision_agent", created_at=1.0, config={"x": SECRET})
WORKFLOW = Workflow(workflow_id="wf-1", name=SECRET, definition_hash="h", created_at=1.0, steps=1)

COMMANDS: list[tuple[Message, str]] = [
    (StartExecution(execution_id="e1", definition={"x": SECRET}, inputs={"x": SECRET}), "e1"),
    (CancelExecution(execution_id="e1", reason=SECRET), "e1"),
    (DescribeExecution(execution_id="e1"), "e1"),
    (CreateWorkflow(workflow_id="wf-1", definition={"x": SECRET}), "wf-1"),
    (DeleteWorkflow(workflow_id="wf-1"), "wf-1"),
    (CreateAgent(agent_type="decision_agent", agent_id="chooser", config={"x": SECRET}), "chooser"),
    (DeleteAgent(agent_id="chooser"), "chooser"),
    (FindAgents(filter=AgentFilter(agent_type="data_agent")), "data_agent"),
    (BroadcastMail(body={"x": SECRET}, sender_id="zoe"), ""),
    (ReplayDeadLetter(id="letter"), "letter"),
    (DiscardDeadLetter(id="letter"), "letter"),
    (CreateApiKey(key=KEY), KEY_ID),
    (RotateApiKey(id=KEY_ID, new_id=NEW_ID, new_secret_hash="0" * 64, overlap=1.0), KEY_ID),
    (RevokeApiKey(id=KEY_ID), KEY_ID),
]
ANSWERS: list[tuple[Message, str]] = [
    (ExecutionAccepted(execution_id="e1"), "e1"),
    (CancelAccepted(execution_id="e1", status=ExecutionStatus.CANCELLED), "e1"),
    (ExecutionDescribed(execution_id="e1", status=ExecutionStatus.RUNNING, outputs={"x": SECRET}), "e1"),
    (WorkflowCreated(workflow=WORKFLOW), "wf-1"),
    (WorkflowDeleted(workflow_id="wf-1"), "wf-1"),
    (AgentCreated(agent=AGENT), "chooser"),
    (AgentDeleted(agent_id="chooser"), "chooser"),
    (AgentsFound(agents=(AGENT,)), ""),
    (BroadcastSent(broadcast_id="b1", agent_ids=("chooser",)), "b1"),
    (DeadLetterSettled(id="letter", replayed=True), "letter"),
    (ApiKeyStored(key=KEY), KEY_ID),
    (
        Refused(
            code="invalid",
            message=f"it says {SECRET}",
            subject="e1",
            faults=(Fault(path="steps[0].id", code="duplicate_id", message=SECRET),),
        ),
        "e1",
    ),
]
EVENTS: list[tuple[Message, str]] = [
    (ExecutionCompleted(execution_id="e1", workflow_name=SECRET, outputs={"x": SECRET}), "e1"),
    (
        ExecutionFailed(
            execution_id="e1",
            workflow_name=SECRET,
            outputs={"x": SECRET * 10_000},
            errors={"one": StepError(type="ForbiddenPath", message=SECRET)},
        ),
        "e1",
    ),
    (ExecutionCancelled(execution_id="e1", workflow_name=SECRET), "e1"),
    (HostAnnounced(host_id="h1", service="data_agent", descriptors=(), heartbeat_seconds=5.0), "h1"),
    (HostStopped(host_id="h1"), "h1"),
]
