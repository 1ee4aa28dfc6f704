"""Every message class by its versioned type."""

from contracts.access import ApiKeyStored, CreateApiKey, RevokeApiKey, RotateApiKey
from contracts.audit import AccessRecorded
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

MESSAGES: dict[str, type[Message]] = {
    message.TYPE: message
    for message in (
        StartExecution,
        CancelExecution,
        DescribeExecution,
        ExecutionAccepted,
        CancelAccepted,
        ExecutionDescribed,
        Refused,
        RunSteps,
        StepResults,
        StepsProgressed,
        StepsCancelled,
        WakeExecutions,
        ExecutionsAdvanced,
        ExecutionCompleted,
        ExecutionFailed,
        ExecutionCancelled,
        CreateWorkflow,
        DeleteWorkflow,
        WorkflowCreated,
        WorkflowDeleted,
        HostAnnounced,
        HostHeartbeat,
        HostStopped,
        HostAssignment,
        AgentTaken,
        AgentReleased,
        CreateAgent,
        AgentCreated,
        DeleteAgent,
        AgentDeleted,
        FindAgents,
        AgentsFound,
        AgentMail,
        AgentReply,
        BroadcastMail,
        BroadcastSent,
        SweepHosts,
        ReplayDeadLetter,
        DiscardDeadLetter,
        DeadLetterSettled,
        CreateApiKey,
        RotateApiKey,
        RevokeApiKey,
        ApiKeyStored,
        AccessRecorded,
        ProcessReported,
        DescribeMonitoring,
        MonitoringDescribed,
    )
}
