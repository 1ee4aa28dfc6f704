"""An execution's events as they happen: ``/api/v1/executions/{id}/events``, server-sent events.

The stream replays the log from its start, or from after the last event that the client has seen, and goes on live
until the execution ends. Whoever comes back to a stream that is over gets 204, which ends a browser's reconnecting
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic_core import to_json
from starlette.responses import Response

from contracts.history import LogEntry
from services.edge import examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.dependencies import EdgeParts, ExecutionId, SignedIn
from services.edge.live import Follower, LiveFeed, is_last
from services.edge.models import utc
from services.edge.openapi import problems
from services.edge.problems import Problem
from services.edge.projection import show_events

router = APIRouter(prefix="/executions", tags=["executions"])

RECONNECT_MS = 1_000
_EVENT_ID = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")


class StreamIsOver(Exception):
    """The client has seen everything that will ever be in this stream."""


@dataclass(frozen=True, slots=True)
class Place:
    """The last event that a client has seen: event ``i`` of entry ``n``, or the whole of it where ``i`` is None."""

    n: int
    i: int | None

    def is_before(self, n: int, i: int) -> bool:
        return n > self.n or (n == self.n and self.i is not None and i > self.i)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that can begin: the execution exists and has more to say, or has not ended."""

    feed: LiveFeed
    follower: Follower
    first: Sequence[LogEntry]
    place: Place


async def place_of(
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event seen, as a browser sends it when it reconnects.")
    ] = None,
    after: Annotated[
        str | None, Query(description="The same, for clients that set no headers: `n` or `n.i`.", examples=["3", "3.1"])
    ] = None,
) -> Place:
    given = last_event_id or after or "0"
    parsed = _EVENT_ID.fullmatch(given)
    if parsed is None:
        message = f"{given!r} is not the id of an event, which is 'n' or 'n.i'"
        raise Problem("malformed", message, errors=[{"path": "last-event-id", "code": "bad_id", "message": message}])
    n, i = parsed.groups()
    return Place(int(n), None if i is None else int(i))


async def open_stream(
    edge: EdgeParts, execution_id: ExecutionId, place: Annotated[Place, Depends(place_of)]
) -> AsyncIterator[Stream]:
    """Take part in the broadcast, then read the log, so that nothing falls in between.

    Raises:
        Problem: there is no such execution, or the place is beyond what has happened; too many streams are open.
        StreamIsOver: the execution has ended and the client has seen it all.
    """
    if edge.live.followers >= edge.settings.max_streams:
        raise edge.pressure.too_many_streams(edge.live.followers)
    # From one entry before the place: that one is there if the execution is.
    position = max(place.n - 1, 0)
    with edge.live.following(execution_id, position) as follower:
        entries = await edge.reads.log_of(execution_id, position)
        if not entries:
            so_far = f" that has come as far as {place.n}" if place.n else ""
            raise Problem("not-found", f"there is no execution {execution_id!r}{so_far}")
        last = entries[-1]
        if is_last(last) and not place.is_before(last.n, len(last.events) - 1):
            raise StreamIsOver
        yield Stream(edge.live, follower, entries, place)


@router.get(
    "/{execution_id}/events",
    operation_id="followExecution",
    dependencies=[needs(Scope.EXECUTIONS_READ)],
    summary="Follow an execution's events, from its start",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Every event so far, then each as it happens; ends after `execution_ended`."
            " Comments come while nothing else does.",
            "content": {"text/event-stream": {"example": examples.EVENT_STREAM}},
        },
        204: {"description": "The execution has ended, and nothing came after the event that was named."},
        **problems(400, 404, 422, 503),
    },
)
async def follow_execution(
    edge: EdgeParts, caller: SignedIn, stream: Annotated[Stream, Depends(open_stream)]
) -> AsyncIterator[ServerSentEvent]:
    """`id` is `n.i`: event i of log entry n. `event` is the event's kind, `data` the event as JSON. The stream ends
    early when the key or token that it was opened with is no longer valid."""
    yield ServerSentEvent(comment=stream.follower.execution_id, retry=RECONNECT_MS)
    async for entry in stream.feed.entries(stream.follower, stream.first):
        if not await edge.authenticator.still_valid(caller):
            return
        for i, event in enumerate(show_events(entry)):
            if stream.place.is_before(entry.n, i):
                shown = {"execution_id": entry.execution_id, "n": entry.n, "at": utc(entry.at), **event.model_dump()}
                yield ServerSentEvent(id=f"{entry.n}.{i}", event=event.kind, raw_data=to_json(shown).decode())


def install(app: FastAPI) -> None:
    """Answer 204 where a stream is over."""
    app.add_exception_handler(StreamIsOver, _nothing_more)


async def _nothing_more(request: Request, error: Exception) -> Response:
    return Response(status_code=204)
