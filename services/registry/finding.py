"""Which agents there are, and one message to many of them."""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import structlog

from contracts.agents import AgentStatus
from contracts.registry import AgentMail, AgentsFound, BroadcastMail, BroadcastSent, FindAgents
from services.registry.ledger import Ledger
from services.runtime.bus.base import UnroutableMessage
from services.runtime.envelope_codec import Outgoing
from services.runtime.security.senders import may_send_to
from services.runtime.service import Outbox, Received
from services.runtime.store.base import Page

log = structlog.get_logger(__name__)

_AT_ONCE = 200  # copies on their way to the broker
_ID_LENGTH, _AGENT_ID_LENGTH = 200, 64
_LEAVING = (AgentStatus.STOPPING, AgentStatus.STOPPED)


class Finding:
    def __init__(self, ledger: Ledger, outbox: Outbox) -> None:
        self._ledger = ledger
        self._outbox = outbox

    async def find(self, received: Received[FindAgents]) -> Iterable[Outgoing[Any]]:
        message = received.message
        if not received.wants_reply:
            return []
        agents, after = await self._ledger.store.list_agents(message.filter, Page(message.limit))
        return [received.reply(AgentsFound(agents=tuple(agents), complete=after is None))]

    async def broadcast(self, received: Received[BroadcastMail]) -> Iterable[Outgoing[Any]]:
        """A copy to each agent that matches, is not the sender, and is not being stopped; from an agent, to those that
        it may message."""
        message, signer = received.message, received.delivery.signer
        broadcast_id = _broadcast_id(received.envelope.id)
        meant = [
            agent.agent_id
            for agent in await self._ledger.agents(message.filter)
            if agent.agent_id != message.sender_id
            and agent.status not in _LEAVING
            and (signer is None or may_send_to(signer, agent.agent_id, agent.agent_type))
        ]
        reached: list[str] = []
        for begin in range(0, len(meant), _AT_ONCE):
            some = meant[begin : begin + _AT_ONCE]
            arrived = await asyncio.gather(*(self._copy(received, agent_id, broadcast_id) for agent_id in some))
            reached += [agent_id for agent_id, there in zip(some, arrived, strict=True) if there]
        if not received.wants_reply:
            return []
        return [received.reply(BroadcastSent(broadcast_id=broadcast_id, agent_ids=tuple(reached)))]

    async def _copy(self, received: Received[BroadcastMail], agent_id: str, broadcast_id: str) -> bool:
        """Send one; False if the agent has no queue."""
        message = received.message
        mail = AgentMail(
            agent_id=agent_id, body=message.body, message_type=message.message_type, sender_id=message.sender_id
        )
        try:
            await self._outbox.send([replace(received.follow(mail), message_id=f"{broadcast_id}/{agent_id}")])
        except UnroutableMessage as error:
            log.warning("copy of a broadcast reached no queue", agent_id=agent_id, error=str(error))
            return False
        return True


def _broadcast_id(envelope_id: str) -> str:
    """The envelope's id, or a hash of one so long that the copies' ids would be too long."""
    if len(envelope_id) + 1 + _AGENT_ID_LENGTH <= _ID_LENGTH:
        return envelope_id
    return hashlib.blake2b(envelope_id.encode(), digest_size=16).hexdigest()
