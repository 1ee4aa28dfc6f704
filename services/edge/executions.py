"""Executions: ``/api/v1/executions``."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, status
from pydantic import AwareDatetime

from contracts.execution import CancelAccepted, CancelExecution
from contracts.history import ExecutionStatus, Header, LogEntry
from services.edge import examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.bodies import read_model
from services.edge.dependencies import (
    Client,
    CorrelationId,
    Edge,
    EdgeParts,
    ExecutionId,
    IdempotencyKey,
    href_of,
)
from services.edge.models import (
    Cancel,
    Cancelled,
    ExecuteDefinition,
    ExecutionPage,
    ExecutionSummary,
    ExecutionView,
    History,
    Started,
    utc,
)
from services.edge.openapi import body, ok, problems
from services.edge.problems import Problem
from services.edge.projection import large_values, project, show_entry, started_event, with_large_values
from services.edge.reading import After, Limit, beside_others
from services.edge.starting import STARTED_HEADERS, check_room, start
from services.runtime.masking import without_keys
from services.runtime.store.base import HeaderFilter, Page, StoreError

router = APIRouter(prefix="/executions", tags=["executions"])


@router.post(
    "",
    operation_id="executeDefinition",
    dependencies=[needs(Scope.EXECUTIONS_START)],
    summary="Start an execution of a definition sent along",
    status_code=status.HTTP_202_ACCEPTED,
    responses={
        **ok(
            {**examples.STARTED, "workflow_id": None},
            status=202,
            description="Started, and stored",
            headers=STARTED_HEADERS,
        ),
        **problems(400, 408, 413, 415, 422, 503),
    },
    openapi_extra=body("ExecuteDefinition", {"definition": examples.DEFINITION, "inputs": {}}, required=True),
)
async def execute_definition(
    request: Request,
    response: Response,
    edge: EdgeParts,
    client: Client,
    key: IdempotencyKey,
    correlation_id: CorrelationId,
) -> Started:
    """The answer comes once the start is stored: from then on the execution goes on whatever crashes."""
    await check_room(edge, client, key)
    wanted = await read_model(request, ExecuteDefinition)
    return await start(
        request,
        response,
        edge,
        definition=wanted.definition,
        inputs=wanted.inputs,
        client=client,
        key=key,
        correlation_id=correlation_id,
    )


@router.get(
    "",
    operation_id="listExecutions",
    dependencies=[needs(Scope.EXECUTIONS_READ)],
    summary="List executions",
    responses={**ok({"items": [examples.SUMMARY], "next": examples.CURSOR}), **problems(400, 422, 503)},
)
async def list_executions(
    edge: EdgeParts,
    status: Annotated[ExecutionStatus | None, Query(description="Only those with this status.")] = None,
    workflow_id: Annotated[str | None, Query(description="Only those of this stored workflow.")] = None,
    workflow_name: Annotated[str | None, Query(description="Only those of workflows of this name.")] = None,
    started_after: Annotated[AwareDatetime | None, Query(examples=["2026-01-31T00:00:00Z"])] = None,
    started_before: Annotated[AwareDatetime | None, Query(examples=["2026-02-01T00:00:00Z"])] = None,
    limit: Limit = 50,
    after: After = None,
) -> ExecutionPage:
    """Latest started first."""
    wanted = HeaderFilter(
        status=status,
        workflow_id=workflow_id,
        workflow_name=workflow_name,
        started_after=started_after.timestamp() if started_after else None,
        started_before=started_before.timestamp() if started_before else None,
    )
    async with edge.reads.in_time():
        headers, following = await edge.store.list_headers(wanted, Page(limit, after))
    return ExecutionPage(items=[_summary(header) for header in headers], next=following)


@router.get(
    "/{execution_id}",
    operation_id="getExecution",
    dependencies=[needs(Scope.EXECUTIONS_READ)],
    summary="Get an execution: its status, steps, outputs, errors and timings",
    response_model=ExecutionView,
    responses={**ok(examples.EXECUTION), **problems(404, 422, 503)},
)
async def get_execution(
    request: Request,
    edge: EdgeParts,
    execution_id: ExecutionId,
    include_large: Annotated[
        bool, Query(description="Put values over 64 KB in their places too, instead of a link to each.")
    ] = False,
) -> Response:
    view = await _view(request, edge, execution_id)
    if include_large and (wanted := large_values(view)):
        async with edge.reads.in_time():
            view = with_large_values(view, await edge.store.get_payloads(wanted))
    content = await beside_others(len(view.steps), view.model_dump_json)
    return Response(content, media_type="application/json")


@router.get(
    "/{execution_id}/steps/{step_id}/output",
    operation_id="getStepOutput",
    dependencies=[needs(Scope.EXECUTIONS_READ)],
    summary="Get the output of one step, however large",
    responses={**ok({"decision": "B"}), **problems(404, 422, 503)},
)
async def get_step_output(
    request: Request,
    edge: EdgeParts,
    execution_id: ExecutionId,
    step_id: Annotated[str, Path(max_length=200, examples=["step2"])],
) -> Any:
    view = await _view(request, edge, execution_id)
    step = view.steps.get(step_id)
    if step is None:
        raise Problem("not-found", f"execution {execution_id!r} has no step {step_id!r}")
    if step.status != "succeeded":
        raise Problem("not-found", f"step {step_id!r} is {step.status.value}: it has no output")
    if step.large_output is None:
        return step.output
    payload_id = step.large_output.payload_id
    async with edge.reads.in_time():
        payloads = await edge.store.get_payloads([payload_id])
    if payload_id not in payloads:
        raise StoreError(f"payload {payload_id} is missing, though the log refers to it")
    return without_keys(payloads[payload_id])


@router.post(
    "/{execution_id}/cancel",
    operation_id="cancelExecution",
    dependencies=[needs(Scope.EXECUTIONS_CANCEL)],
    summary="Cancel an execution",
    responses={
        **ok({"execution_id": examples.EXECUTION_ID, "status": "cancelled"}),
        **problems(400, 404, 408, 413, 415, 422, 503),
    },
    openapi_extra=body("Cancel", {"reason": "no longer needed"}, required=False),
)
async def cancel_execution(
    request: Request, edge: EdgeParts, execution_id: ExecutionId, client: Client, correlation_id: CorrelationId
) -> Cancelled:
    """The execution has ended when the answer comes; its status says how, for it may have ended before."""
    wanted = await read_model(request, Cancel)
    accepted = await edge.commands.ask(
        CancelExecution(execution_id=execution_id, reason=wanted.reason),
        CancelAccepted,
        actor=client,
        correlation_id=correlation_id,
        members={"execution_id": execution_id},
        repeating="repeating this request is safe",
    )
    return Cancelled(execution_id=execution_id, status=accepted.status)


@router.get(
    "/{execution_id}/history",
    operation_id="getHistory",
    dependencies=[needs(Scope.EXECUTIONS_READ)],
    summary="Get an execution's history: its log, entry by entry",
    responses={**ok(examples.HISTORY), **problems(404, 422, 503)},
)
async def get_history(
    edge: EdgeParts,
    execution_id: ExecutionId,
    after: Annotated[int, Query(ge=0, description="Only entries with a greater `n`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many entries at most.")] = 100,
) -> History:
    # One entry more than asked for tells an execution without news from one that does not exist.
    entries = await _log(edge, execution_id, max(after - 1, 0))
    later = [entry for entry in entries if entry.n > after]
    return History(
        execution_id=execution_id,
        entries=[show_entry(entry) for entry in later[:limit]],
        next=later[limit - 1].n if len(later) > limit else None,
    )


async def _view(request: Request, edge: Edge, execution_id: str) -> ExecutionView:
    entries = await _log(edge, execution_id, 0)
    async with edge.reads.of_a_long_log():
        outline = await edge.outlines.get(started_event(entries).definition_hash)
    href = href_of(request, "get_execution", execution_id=execution_id)
    return await beside_others(len(entries), lambda: project(entries, outline, href))


async def _log(edge: Edge, execution_id: str, after: int) -> list[LogEntry]:
    entries = await edge.reads.log_of(execution_id, after)
    if not entries:
        beyond = f" with an entry after {after}" if after else ""
        raise Problem("not-found", f"there is no execution {execution_id!r}{beyond}")
    return entries


def _summary(header: Header) -> ExecutionSummary:
    return ExecutionSummary(
        execution_id=header.execution_id,
        workflow_id=header.workflow_id,
        workflow_name=header.workflow_name,
        status=header.status,
        started_at=utc(header.started_at),
        ended_at=None if header.ended_at is None else utc(header.ended_at),
    )
