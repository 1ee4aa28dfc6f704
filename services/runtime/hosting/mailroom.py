"""Mail for the agents of a host: answered, tried again when it fails, and kept as a dead letter when that is no use."""

import asyncio
from typing import Any

import structlog

from contracts import topology
from contracts.registry import AgentMail, AgentReply
from services.runtime.agent import AgentStopped, CapabilityError, Mail
from services.runtime.agent.error_text import text_of
from services.runtime.bus.base import UnroutableMessage
from services.runtime.correlation import add_to_hand
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.agents import Agents
from services.runtime.hosting.counting import Uncounted, WorkCounts
from services.runtime.hosting.outcomes import is_ours_to_obey, sendable_size
from services.runtime.hosting.spans import AgentSpans
from services.runtime.security.principal import SenderKind
from services.runtime.security.senders import may_send_to
from services.runtime.service import Outbox, Received
from services.runtime.telemetry.agent_metrics import MailOutcome

log = structlog.get_logger(__name__)

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 2.0  # seconds


class Mailroom:
    """Takes over mail.

    Args:
        timeout: seconds that an agent may take for a message.
        retries: how often a message is tried again before it becomes a dead letter.
    """

    def __init__(
        self,
        agents: Agents,
        outbox: Outbox,
        *,
        timeout: float,
        retries: int,
        spans: AgentSpans | None = None,
        counts: WorkCounts | None = None,
    ) -> None:
        self._agents = agents
        self._outbox = outbox
        self._timeout = timeout
        self._retries = retries
        self._spans = spans or AgentSpans(None)
        self._counts = counts or Uncounted()

    async def take(self, received: Received[AgentMail]) -> None:
        """Have the agent answer a message, and settle it."""
        agent_id = received.message.agent_id
        agent_type = self._type_of(agent_id, received.delivery.queue)
        add_to_hand(correlation_id=received.correlation_id, agent_type=agent_type, agent_id=agent_id)
        reason = self._why_forbidden(received)
        if reason:
            await self._refuse(received, reason)
            self._counts.mail(agent_type, MailOutcome.REFUSED)
            return
        try:
            with self._spans.reading(received, agent_type):
                body = await self._answer(received)
        except BaseException as error:
            if is_ours_to_obey(error):
                raise
            self._counts.mail(agent_type, await self._failed(received, error))
            return
        if received.wants_reply:
            await self._outbox.send([received.reply(AgentReply(agent_id=received.message.agent_id, body=body))])
        await received.delivery.ack()
        self._counts.mail(agent_type, MailOutcome.ANSWERED)

    def _why_forbidden(self, received: Received[AgentMail]) -> str:
        """Why whoever signed a message may not send it to its agent, or nothing. Judged before all else: mail that is
        tried again is signed by this host."""
        signer, agent_id = received.delivery.signer, received.message.agent_id
        if signer is None:
            return ""
        agent_type = self._type_of(agent_id, received.delivery.queue)
        if received.envelope.retry_count and signer.kind is SenderKind.AGENT:
            if signer.answers_for(agent_type):
                return ""
            return f"{signer} may not try mail to {agent_id} again: it does not answer for agent type {agent_type!r}"
        if may_send_to(signer, agent_id, agent_type):
            return ""
        return f"the agent policy does not let {signer} send messages to {agent_id}, of agent type {agent_type!r}"

    def _type_of(self, agent_id: str, queue: str) -> str:
        """The agent's type, also of one that this host does not run (any more); nothing where it runs no such type."""
        agent = self._agents.get(agent_id)
        if agent is not None:
            return agent.agent_type
        types = self._agents.defaults
        return next((one for one in types if queue == topology.agent_queue(one, agent_id).name), "")

    async def _refuse(self, received: Received[AgentMail], reason: str) -> None:
        agent_id = received.message.agent_id
        log.warning("message refused", agent_id=agent_id, reason="forbidden-sender", detail=reason)
        if received.wants_reply:
            reply = AgentReply(agent_id=agent_id, error=reason, code="Forbidden")
            await self._outbox.send([received.reply(reply)])
        await received.delivery.dead_letter("forbidden-sender", reason)

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

    async def _failed(self, received: Received[AgentMail], error: BaseException) -> MailOutcome:
        message, envelope = received.message, received.envelope
        code, text, retryable = _in_words(error)
        again = retryable and envelope.retry_count < self._retries
        log.warning(
            "message failed",
            agent_id=message.agent_id,
            message_type=message.message_type,
            message_id=envelope.id,
            retry_count=envelope.retry_count,
            tried_again=again,
            error=code,
            detail=text,
            exc_info=None if isinstance(error, CapabilityError) else error,
        )
        if again:
            return await self._try_again(received)
        if received.wants_reply:
            reply = AgentReply(agent_id=message.agent_id, error=text, code=code)
            await self._outbox.send([received.reply(reply)])
        if received.wants_reply and not retryable:
            await received.delivery.ack()  # refused, and whoever asked knows
        else:
            detail = f"{code}: {text}" + (f" (after {envelope.retry_count} retries)" if retryable else "")
            await received.delivery.dead_letter("agent-failed", detail)
        return MailOutcome.FAILED

    async def _try_again(self, received: Received[AgentMail]) -> MailOutcome:
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
            traceparent=received.traceparent,
        )
        try:
            await self._outbox.send([again])
        except UnroutableMessage:
            detail = f"agent {received.message.agent_id} was removed before the message was tried again"
            await received.delivery.dead_letter("agent-removed", detail)
            return MailOutcome.FAILED
        await received.delivery.ack()
        return MailOutcome.RETRIED


def _in_words(error: BaseException) -> tuple[str, str, bool]:
    """A failure's code, its text, and whether trying again could help."""
    if isinstance(error, CapabilityError):
        return error.code, text_of(error), error.retryable
    return type(error).__name__, text_of(error) or type(error).__name__, True
