"""Every message class by its versioned type."""

from contracts.agents import AgentAnnounced, AgentMail, AgentReply
from contracts.envelope import Message
from contracts.execution import (
    CancelAccepted,
    CancelExecution,
    ExecutionAccepted,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionsAdvanced,
    Refused,
    RunSteps,
    StartExecution,
    StepResults,
    WakeExecutions,
)
from contracts.workflow import CreateWorkflow, DeleteWorkflow, WorkflowCreated, WorkflowDeleted

MESSAGES: dict[str, type[Message]] = {
    message.TYPE: message
    for message in (
        StartExecution,
        CancelExecution,
        ExecutionAccepted,
        CancelAccepted,
        Refused,
        RunSteps,
        StepResults,
        WakeExecutions,
        ExecutionsAdvanced,
        ExecutionCompleted,
        ExecutionFailed,
        ExecutionCancelled,
        CreateWorkflow,
        DeleteWorkflow,
        WorkflowCreated,
        WorkflowDeleted,
        AgentAnnounced,
        AgentMail,
        AgentReply,
    )
}
