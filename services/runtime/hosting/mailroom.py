"""Mail for the agents of a host: answered, tried again when it fails, and kept as a dead letter when that is no use."""

import asyncio
from typing import Any

import structlog

from contracts.registry import AgentMail, AgentReply
from services.runtime.agent import AgentStopped, CapabilityError, Mail
from services.runtime.agent.error_text import text_of
from services.runtime.bus.base import UnroutableMessage
from services.runtime.correlation import following
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.agents import Agents
from services.runtime.hosting.outcomes import is_ours_to_obey, sendable_size
from services.runtime.service import Outbox, Received

log = structlog.get_logger(__name__)

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 2.0  # seconds


class Mailroom:
    """Takes over mail.

    Args:
        timeout: seconds that an agent may take for a message.
        retries: how often a message is tried again before it becomes a dead letter.
    """

    def __init__(self, agents: Agents, outbox: Outbox, *, timeout: float, retries: int) -> None:
        self._agents = agents
        self._outbox = outbox
        self._timeout = timeout
        self._retries = retries

    async def take(self, received: Received[AgentMail]) -> None:
        """Have the agent answer a message, and settle it."""
        with following(received.correlation_id):
            try:
                body = await self._answer(received)
            except BaseException as error:
                if is_ours_to_obey(error):
                    raise
                await self._failed(received, error)
                return
            if received.wants_reply:
                await self._outbox.send([received.reply(AgentReply(agent_id=received.message.agent_id, body=body))])
            await received.delivery.ack()

    async def _answer(self, received: Received[AgentMail]) -> dict[str, Any]:
        message, envelope = received.message, received.envelope
        agent = self._agents.get(message.agent_id)
        if agent is None:
            raise AgentStopped(f"agent {message.agent_id} does not run here")
        mail = Mail(
            body=message.body,
            message_type=message.message_type,
            sender_id=message.sender_id,
            message_id=envelope.id,
            retry_count=envelope.retry_count,
        )
        body = await agent.receive(mail, self._timeout)
        if received.wants_reply:
            sendable_size(body, "the answer")
        return body

    async def _failed(self, received: Received[AgentMail], error: BaseException) -> None:
        message, envelope = received.message, received.envelope
        code, text, retryable = _in_words(error)
        again = retryable and envelope.retry_count < self._retries
        log.warning(
            "message failed",
            agent=message.agent_id,
            message_type=message.message_type,
            message_id=envelope.id,
            retry_count=envelope.retry_count,
            tried_again=again,
            error=code,
            detail=text,
            exc_info=None if isinstance(error, CapabilityError) else error,
        )
        if again:
            await self._try_again(received)
            return
        if received.wants_reply:
            reply = AgentReply(agent_id=message.agent_id, error=text, code=code)
            await self._outbox.send([received.reply(reply)])
        if received.wants_reply and not retryable:
            await received.delivery.ack()  # refused, and whoever asked knows
        else:
            detail = f"{code}: {text}" + (f" (after {envelope.retry_count} retries)" if retryable else "")
            await received.delivery.dead_letter("agent-failed", detail)

    async def _try_again(self, received: Received[AgentMail]) -> None:
        """Publish it once more under its own id, behind what waits, and only then settle this one."""
        envelope = received.envelope
        await asyncio.sleep(min(FIRST_BACKOFF * 2**envelope.retry_count, LONGEST_BACKOFF))
        again = Outgoing(
            received.message,
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id,
            reply_to=received.delivery.reply_to,
            message_id=envelope.id,
            sender=envelope.sender,
            retry_count=envelope.retry_count + 1,
        )
        try:
            await self._outbox.send([again])
        except UnroutableMessage:
            detail = f"agent {received.message.agent_id} was removed before the message was tried again"
            await received.delivery.dead_letter("agent-removed", detail)
        else:
            await received.delivery.ack()


def _in_words(error: BaseException) -> tuple[str, str, bool]:
    """A failure's code, its text, and whether trying again could help."""
    if isinstance(error, CapabilityError):
        return error.code, text_of(error), error.retryable
    return type(error).__name__, text_of(error) or type(error).__name__, True
