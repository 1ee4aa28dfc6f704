"""``/api/v1/monitoring/timeline/{execution_id}``: a Gantt chart of an execution, which the edge makes of its log."""

import time
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Response

from contracts.history import LogEntry
from contracts.workflow import MAX_STEPS
from services.edge.accepted import preferred
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.dependencies import EdgeParts, ExecutionId
from services.edge.openapi import Responses, ok, problems
from services.edge.outline import Outline
from services.edge.problems import Problem
from services.edge.projection import started_event
from services.edge.reading import beside_others
from services.edge.timeline import examples
from services.edge.timeline.bars import text_of
from services.edge.timeline.course import course_of
from services.edge.timeline.critical_path import analyse
from services.edge.timeline.models import Timeline
from services.edge.timeline.views import timeline_of

router = APIRouter(prefix="/monitoring", tags=["monitoring"])

JSON: Final = "application/json"
TEXT: Final = "text/plain"

Format = Literal["json", "text"]


def _responses() -> Responses:
    answer = ok(examples.TIMELINE, model=Timeline)
    content: dict[str, Any] = answer[200]["content"]
    content[TEXT] = {"schema": {"type": "string"}, "example": examples.TEXT}
    return answer


@router.get(
    "/timeline/{execution_id}",
    operation_id="getTimeline",
    dependencies=[needs(Scope.EXECUTIONS_READ)],
    summary="Get an execution's timeline: a Gantt chart, its critical path, and every other step's slack",
    response_class=Response,
    responses={**_responses(), **problems(404, 422, 503)},
)
async def get_timeline(
    edge: EdgeParts,
    execution_id: ExecutionId,
    format: Annotated[
        Format | None, Query(description="As JSON or as text with bars; if not given, what `Accept` prefers.")
    ] = None,
    after: Annotated[int, Query(ge=0, le=MAX_STEPS, description="The `next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_STEPS, description="How many steps at most.")] = 1_000,
    accept: Annotated[str, Header(include_in_schema=False)] = JSON,
) -> Response:
    """Each step's wait, run, backoff and overhead, by attempt. Of an execution that goes on: as of now."""
    entries = await edge.reads.log_of(execution_id)
    if not entries:
        raise Problem("not-found", f"there is no execution {execution_id!r}")
    async with edge.reads.of_a_long_log():
        outline = await edge.outlines.get(started_event(entries).definition_hash)
    media_type = preferred(accept, (JSON, TEXT)) if format is None else {"json": JSON, "text": TEXT}[format]
    make = partial(_body, entries, outline, time.time(), media_type, after, limit)
    body = await beside_others(len(entries), make)
    return Response(body, media_type=media_type, headers={"Vary": "Accept"})


def _body(entries: list[LogEntry], outline: Outline, now: float, media_type: str, after: int, limit: int) -> bytes:
    course = course_of(entries, outline, now)
    analysis = analyse(course, outline)
    if media_type == TEXT:
        return text_of(course, outline, analysis, after=after, limit=limit).encode("utf-8", "replace")
    return timeline_of(course, outline, analysis, after=after, limit=limit).model_dump_json().encode()
