"""Commands about API keys, and their answers."""

from collections.abc import Awaitable, Iterable
from typing import Any

import structlog

from contracts.access import ApiKey, ApiKeyStored, CreateApiKey, RevokeApiKey, RotateApiKey
from services.access.keeping import Keeper
from services.access.key_decisions import KeyRefused
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received, Refusal

log = structlog.get_logger(__name__)

Answers = Iterable[Outgoing[Any]]


class Commanding:
    """Handlers. Each raises Refusal where the decision was to refuse."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def create(self, received: Received[CreateApiKey]) -> Answers:
        wanted = received.message.key
        if not wanted.created_by:
            wanted = wanted.model_copy(update={"created_by": _who(received)})
        return await self._done(received, "API key created", self._keeper.create(wanted))

    async def rotate(self, received: Received[RotateApiKey]) -> Answers:
        rotation = self._keeper.rotate(received.message, by=_who(received))
        return await self._done(received, "API key rotated", rotation)

    async def revoke(self, received: Received[RevokeApiKey]) -> Answers:
        return await self._done(received, "API key revoked", self._keeper.revoke(received.message.id))

    async def _done(self, received: Received[Any], event: str, doing: Awaitable[ApiKey]) -> Answers:
        try:
            key = await doing
        except KeyRefused as error:
            raise Refusal(error.refused) from error
        log.info(event, key_id=key.id, name=key.name, role=key.role.value, actor=_who(received))
        return [received.reply(ApiKeyStored(key=key))] if received.wants_reply else []


def _who(received: Received[Any]) -> str:
    return received.envelope.actor or received.envelope.sender
