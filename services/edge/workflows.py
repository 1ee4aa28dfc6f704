"""Workflow definitions: ``/api/v1/workflows``."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from contracts.execution import EXECUTION_ID_PATTERN
from contracts.workflow import CreateWorkflow, DeleteWorkflow, Workflow, WorkflowCreated, WorkflowDeleted
from services.edge import examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.bodies import read_model, read_object
from services.edge.dependencies import Client, CorrelationId, EdgeParts, IdempotencyKey, WorkflowId, href_of
from services.edge.models import ExecuteWorkflow, Started, WorkflowPage, WorkflowView, WorkflowWithDefinition, utc
from services.edge.openapi import body, definition_body, ok, problems
from services.edge.problems import Problem
from services.edge.reading import After, Limit
from services.edge.starting import STARTED_HEADERS, check_room, start
from services.runtime.masking import without_keys
from services.runtime.store.base import Page

router = APIRouter(prefix="/workflows", tags=["workflows"])


@router.post(
    "",
    operation_id="createWorkflow",
    dependencies=[needs(Scope.WORKFLOWS_WRITE)],
    summary="Store a workflow definition",
    status_code=status.HTTP_201_CREATED,
    responses={
        **ok(examples.WORKFLOW, status=201, description="Stored", headers={"Location": "Where it is."}),
        **problems(400, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra=definition_body(),
)
async def create_workflow(
    request: Request,
    response: Response,
    edge: EdgeParts,
    client: Client,
    correlation_id: CorrelationId,
    workflow_id: Annotated[
        str | None,
        Query(
            pattern=EXECUTION_ID_PATTERN,
            description="The id it is to have; made up if not given. Storing the same definition under it again"
            " changes nothing, another one is refused (409).",
        ),
    ] = None,
) -> WorkflowView:
    """The body is the definition itself, as JSON or YAML. A definition with faults is refused with all of them."""
    definition = await read_object(request)
    chosen = workflow_id or f"wf-{uuid.uuid4().hex}"
    created = await edge.commands.ask(
        CreateWorkflow(workflow_id=chosen, definition=definition),
        WorkflowCreated,
        actor=client,
        correlation_id=correlation_id,
        members={"workflow_id": chosen},
        repeating=f"repeating this request with ?workflow_id={chosen} is safe",
    )
    response.headers["Location"] = href_of(request, "get_workflow", workflow_id=chosen)
    return WorkflowView(**_shown(created.workflow))


@router.get(
    "",
    operation_id="listWorkflows",
    dependencies=[needs(Scope.WORKFLOWS_READ)],
    summary="List workflow definitions",
    responses={**ok({"items": [examples.WORKFLOW], "next": examples.CURSOR}), **problems(400, 422, 503)},
)
async def list_workflows(
    edge: EdgeParts,
    name: Annotated[str | None, Query(description="Only those of this name.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> WorkflowPage:
    """Latest first."""
    async with edge.reads.in_time():
        workflows, following = await edge.store.list_workflows(Page(limit, after), name)
    return WorkflowPage(items=[WorkflowView(**_shown(workflow)) for workflow in workflows], next=following)


@router.get(
    "/{workflow_id}",
    operation_id="getWorkflow",
    dependencies=[needs(Scope.WORKFLOWS_READ)],
    summary="Get a workflow with its definition",
    responses={**ok({**examples.WORKFLOW, "definition": examples.DEFINITION}), **problems(404, 422, 503)},
)
async def get_workflow(edge: EdgeParts, workflow_id: WorkflowId) -> WorkflowWithDefinition:
    async with edge.reads.in_time():
        workflow = await edge.store.get_workflow(workflow_id)
        definition = await edge.store.get_definition(workflow.definition_hash) if workflow else None
    if workflow is None or definition is None:
        raise Problem("not-found", f"there is no workflow {workflow_id!r}")
    return WorkflowWithDefinition(**_shown(workflow), definition=without_keys(definition))


@router.delete(
    "/{workflow_id}",
    operation_id="deleteWorkflow",
    dependencies=[needs(Scope.WORKFLOWS_WRITE)],
    summary="Delete a workflow definition",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(404, 422, 503),
)
async def delete_workflow(
    edge: EdgeParts, workflow_id: WorkflowId, client: Client, correlation_id: CorrelationId
) -> None:
    """Executions of it that have been started go on."""
    await edge.commands.ask(
        DeleteWorkflow(workflow_id=workflow_id),
        WorkflowDeleted,
        actor=client,
        correlation_id=correlation_id,
        members={"workflow_id": workflow_id},
        repeating="repeating this request is safe, and 404 then says that it was deleted",
    )


@router.post(
    "/{workflow_id}/execute",
    operation_id="executeWorkflow",
    dependencies=[needs(Scope.EXECUTIONS_START)],
    summary="Start an execution of a stored workflow",
    status_code=status.HTTP_202_ACCEPTED,
    responses={
        **ok(examples.STARTED, status=202, description="Started, and stored", headers=STARTED_HEADERS),
        **problems(400, 404, 408, 413, 415, 422, 503),
    },
    openapi_extra=body("ExecuteWorkflow", {"inputs": {"budget": 1000}}, required=False),
)
async def execute_workflow(
    request: Request,
    response: Response,
    edge: EdgeParts,
    workflow_id: WorkflowId,
    client: Client,
    key: IdempotencyKey,
    correlation_id: CorrelationId,
) -> Started:
    """The answer comes once the start is stored: from then on the execution goes on whatever crashes."""
    await check_room(edge, client, key)
    wanted = await read_model(request, ExecuteWorkflow)
    return await start(
        request,
        response,
        edge,
        workflow_id=workflow_id,
        inputs=wanted.inputs,
        client=client,
        key=key,
        correlation_id=correlation_id,
    )


def _shown(workflow: Workflow) -> dict[str, object]:
    return {**workflow.model_dump(), "created_at": utc(workflow.created_at)}
