"""What an agent is made of. Everything that the writer of an agent needs can be imported from here."""

from services.runtime.agent.base import AgentStopped, BaseAgent
from services.runtime.agent.capability import CapabilityDeclarationError, CapabilityError, capability
from services.runtime.agent.mail import Mail, on_message
from services.runtime.agent.messenger import AgentFailed, CommandRefused, NotGranted
from services.runtime.agent.negotiation_messages import Answer, Award, Bid, CallForProposals, Decline
from services.runtime.agent.step_context import StepContext, WorkCancelled, current_step, report_progress, working_on

__all__ = [
    "AgentFailed",
    "AgentStopped",
    "Answer",
    "Award",
    "BaseAgent",
    "Bid",
    "CallForProposals",
    "CapabilityDeclarationError",
    "CapabilityError",
    "CommandRefused",
    "Decline",
    "Mail",
    "NotGranted",
    "StepContext",
    "WorkCancelled",
    "capability",
    "current_step",
    "on_message",
    "report_progress",
    "working_on",
]
