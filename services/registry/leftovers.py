"""What was left in the queue of a deleted agent: whoever waits for an answer gets one."""

from typing import Any

from contracts.catalog import MESSAGES
from contracts.envelope import new_id
from contracts.execution import RunSteps, StepCommand, StepResult, StepResults
from contracts.history import StepError
from contracts.registry import AgentMail, AgentReply
from services.runtime.bus.base import Delivery
from services.runtime.envelope_codec import Outgoing, UnreadableMessage, decode
from services.runtime.service import Received

REASON = "agent-removed"
CODE = "AgentRemoved"


def in_words(agent_id: str) -> str:
    return f"agent {agent_id!r} was deleted before it came to this message"


def answers(delivery: Delivery, agent_id: str) -> list[Outgoing[Any]]:
    """A reply to mail that asked for one, and a failed result for every command."""
    try:
        received = Received(decode(delivery, MESSAGES), delivery)
    except UnreadableMessage:
        return []
    match received.message:
        case AgentMail() if received.wants_reply:
            return [received.reply(AgentReply(agent_id=agent_id, error=in_words(agent_id), code=CODE))]
        case RunSteps() as message:
            return [
                received.follow(
                    StepResults(
                        reply_key=command.reply_key,
                        agent_type=message.agent_type,
                        action=message.action,
                        results=(_failed(command, agent_id),),
                    )
                )
                for command in message.commands
            ]
    return []


def _failed(command: StepCommand, agent_id: str) -> StepResult:
    return command.failed(new_id(), StepError(type=CODE, message=in_words(agent_id)), agent_id=agent_id)
