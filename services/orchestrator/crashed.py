"""Commands whose host died again and again: each is sent again alone, so that a crash is blamed on one only."""

from collections.abc import Iterable
from typing import Any

import structlog

from contracts.execution import RunSteps
from contracts.registry import AgentMail
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received

log = structlog.get_logger(__name__)


async def quarantine(received: Received[RunSteps]) -> Iterable[Outgoing[Any]]:
    """One message a command, to the quarantine queue of its agent type, where a host runs it in a process of its
    own. Only a death there fails the attempt."""
    message = received.message
    log.warning(
        "batch reached its delivery limit, its commands go to quarantine",
        agent_type=message.agent_type,
        action=message.action,
        commands=[command.id for command in message.commands],
    )
    return [
        received.follow(message.model_copy(update={"commands": (command,), "quarantine": True}))
        for command in message.commands
    ]


async def undelivered_mail(received: Received[AgentMail]) -> None:
    """Mail that killed its reader has no step to fail: it is kept as a dead letter."""
    await received.delivery.dead_letter("delivery-limit", f"mail to {received.message.agent_id} was never settled")
