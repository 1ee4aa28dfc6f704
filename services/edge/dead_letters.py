"""Dead letters: ``/api/v1/monitoring/dead-letters``. Shown from the store, replayed and discarded by their service."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from contracts.dead_letters import DeadLetterSettled, DiscardDeadLetter, ReplayDeadLetter
from services.edge import dead_letter_examples as examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.commands import service
from services.edge.dead_letter_models import (
    DeadLetterPage,
    DeadLetterView,
    Discarded,
    Replayed,
    show_letter,
    summarise_letter,
)
from services.edge.dependencies import Client, CorrelationId, DeadLetterId, Edge, EdgeParts, href_of
from services.edge.openapi import ok, problems
from services.edge.problems import Problem
from services.edge.reading import After, Limit
from services.runtime.store.base import DeadLetterFilter, Page

router = APIRouter(prefix="/monitoring/dead-letters", tags=["monitoring"])

_SERVICE = service("dead-letter service")
_REPEATING = "repeating this request is safe, and 404 then says that it was done"


@router.get("/", include_in_schema=False, dependencies=[needs(Scope.DEAD_LETTERS_READ)])
@router.get(
    "",
    operation_id="listDeadLetters",
    dependencies=[needs(Scope.DEAD_LETTERS_READ)],
    summary="List messages that could not be handled",
    responses={**ok({"items": [examples.SUMMARY], "next": examples.CURSOR}), **problems(400, 422, 503)},
)
async def list_dead_letters(
    request: Request,
    edge: EdgeParts,
    reason: Annotated[str | None, Query(description="Only those with this reason.", examples=["agent-failed"])] = None,
    type: Annotated[str | None, Query(description="Only messages of this type.", examples=["agent.mail.v1"])] = None,
    queue: Annotated[str | None, Query(description="Only those that died in this queue.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> DeadLetterPage:
    """Latest first, with the beginning of each body."""
    async with edge.reads.in_time():
        letters, following = await edge.store.list_dead_letters(
            DeadLetterFilter(reason=reason, type=type, queue=queue), Page(limit, after)
        )
    items = [summarise_letter(letter, _href(request, letter.id)) for letter in letters]
    return DeadLetterPage(items=items, next=following)


@router.get(
    "/{letter_id}",
    operation_id="getDeadLetter",
    dependencies=[needs(Scope.DEAD_LETTERS_READ)],
    summary="Get a dead letter with its whole body",
    responses={**ok(examples.WHOLE), **problems(404, 422, 503, examples=examples.PROBLEMS)},
)
async def get_dead_letter(request: Request, edge: EdgeParts, letter_id: DeadLetterId) -> DeadLetterView:
    async with edge.reads.in_time():
        letter = await edge.store.get_dead_letter(letter_id)
    if letter is None:
        raise Problem("not-found", f"there is no dead letter {letter_id!r}: it may have been replayed or discarded")
    return show_letter(letter, _href(request, letter.id))


@router.post(
    "/{letter_id}/replay",
    operation_id="replayDeadLetter",
    dependencies=[needs(Scope.DEAD_LETTERS_SETTLE)],
    summary="Publish a dead letter again, where it was first published to",
    responses={**ok(examples.REPLAYED), **problems(404, 409, 422, 503, examples=examples.PROBLEMS)},
)
async def replay_dead_letter(
    edge: EdgeParts, letter_id: DeadLetterId, client: Client, correlation_id: CorrelationId
) -> Replayed:
    """The broker has it when the answer comes, under its own message id, and it is no dead letter any more. If it fails
    again, it is one again."""
    await _settle(edge, ReplayDeadLetter(id=letter_id), client, correlation_id)
    return Replayed(dead_letter_id=letter_id)


@router.delete(
    "/{letter_id}",
    operation_id="discardDeadLetter",
    dependencies=[needs(Scope.DEAD_LETTERS_SETTLE)],
    summary="Throw a dead letter away for good",
    responses={**ok(examples.DISCARDED), **problems(404, 422, 503, examples=examples.PROBLEMS)},
)
async def discard_dead_letter(
    edge: EdgeParts, letter_id: DeadLetterId, client: Client, correlation_id: CorrelationId
) -> Discarded:
    await _settle(edge, DiscardDeadLetter(id=letter_id), client, correlation_id)
    return Discarded(dead_letter_id=letter_id)


async def _settle(edge: Edge, command: ReplayDeadLetter | DiscardDeadLetter, actor: str, correlation_id: str) -> None:
    await edge.commands.ask(
        command,
        DeadLetterSettled,
        actor=actor,
        correlation_id=correlation_id,
        members={"dead_letter_id": command.id},
        repeating=_REPEATING,
        of=_SERVICE,
    )


def _href(request: Request, letter_id: str) -> str:
    return href_of(request, "get_dead_letter", letter_id=letter_id)
