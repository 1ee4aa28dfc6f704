"""Dead letters that somebody has looked at: published again, or thrown away."""

from collections.abc import Iterable
from typing import Any

import structlog

from contracts.dead_letters import DeadLetter, DeadLetterSettled, DiscardDeadLetter, ReplayDeadLetter
from contracts.execution import Refused
from services.dead_letters.letters import NoWayBack, message_of
from services.runtime.bus.base import Bus, UnroutableMessage
from services.runtime.bus.secured import publish_again
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received, Refusal
from services.runtime.store.base import Store

log = structlog.get_logger(__name__)

Answers = Iterable[Outgoing[Any]]


class Settling:
    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store

    async def replay(self, received: Received[ReplayDeadLetter]) -> Answers:
        """Publish a letter's message where it was first published to, and forget the letter.

        Raises:
            Refusal: there is no such letter, nobody takes its message, or it is not known where it goes. The letter
                stays.
        """
        letter = await self._store.get_dead_letter(received.message.id)
        if letter is None:
            return _gone(received, replayed=True)
        try:
            await publish_again(self._bus, message_of(letter))
        except NoWayBack as error:
            raise Refusal(_refused("conflict", letter, f"cannot be replayed: {error}")) from error
        except UnroutableMessage as error:
            raise Refusal(_refused("unavailable", letter, f"cannot be replayed now: {error}")) from error
        await self._store.delete_dead_letter(letter.id)
        log.info("dead letter replayed", dead_letter_id=letter.id, message_id=letter.message_id, type=letter.type)
        return _answer(received, replayed=True)

    async def discard(self, received: Received[DiscardDeadLetter]) -> Answers:
        """Forget a letter.

        Raises:
            Refusal: there is no such letter.
        """
        if not await self._store.delete_dead_letter(received.message.id):
            return _gone(received, replayed=False)
        log.info("dead letter discarded", dead_letter_id=received.message.id)
        return _answer(received, replayed=False)


def _gone(received: Received[Any], *, replayed: bool) -> Answers:
    if received.delivery.redeliveries:
        # Somebody took this command before and died: the letter is settled, its answer may not have gone.
        return _answer(received, replayed=replayed)
    letter_id = received.message.id
    message = f"there is no dead letter {letter_id!r}; it may have been settled"
    raise Refusal(Refused(code="not_found", subject=letter_id, message=message))


def _answer(received: Received[Any], *, replayed: bool) -> Answers:
    answer = DeadLetterSettled(id=received.message.id, replayed=replayed)
    return [received.reply(answer)] if received.wants_reply else []


def _refused(code: Any, letter: DeadLetter, what: str) -> Refused:
    return Refused(code=code, subject=letter.id, message=f"dead letter {letter.id!r} {what}")
