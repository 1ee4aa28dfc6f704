"""Agents: ``/api/v1/agents``. They are created and stopped by the registry, and shown from the store."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, status
from starlette.responses import JSONResponse

from contracts.agents import AgentRecord, AgentStatus
from contracts.registry import REQUEST_REUSED, AgentCreated, AgentDeleted, AgentFilter, CreateAgent, DeleteAgent
from services.edge import agent_examples as examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.agent_models import AgentPage, AgentStopped, AgentStopping, AgentView, NewAgent
from services.edge.bodies import read_model
from services.edge.commands import service
from services.edge.dependencies import AgentId, Client, CorrelationId, Edge, EdgeParts, IdempotencyKey, href_of, id_for
from services.edge.models import utc
from services.edge.openapi import body, ok, problems
from services.edge.problems import Problem
from services.edge.reading import After, Limit
from services.edge.starting import REPEATED_HEADER
from services.edge.waiting import Timeout, seconds_to_wait
from services.runtime.masking import masked, masked_text
from services.runtime.store.base import Page

router = APIRouter(prefix="/agents", tags=["agents"])

# The registry waits for hosts as long as AGENT_TIMEOUT says, and then says so itself.
REGISTRY_SAYS_SO = 2.0


@router.post(
    "/", status_code=status.HTTP_201_CREATED, include_in_schema=False, dependencies=[needs(Scope.AGENTS_WRITE)]
)
@router.post(
    "",
    operation_id="createAgent",
    dependencies=[needs(Scope.AGENTS_WRITE)],
    summary="Create an agent of a type",
    status_code=status.HTTP_201_CREATED,
    responses={
        **ok(
            examples.AGENT,
            status=201,
            description="Created, and a host runs it",
            headers={
                "Location": "Where the agent is.",
                REPEATED_HEADER: "`true` where an earlier request with this Idempotency-Key had created it.",
            },
        ),
        **problems(400, 408, 409, 413, 415, 422, 503, examples=examples.PROBLEMS),
    },
    openapi_extra=body("NewAgent", examples.NEW_AGENT, required=True),
)
async def create_agent(
    request: Request,
    response: Response,
    edge: EdgeParts,
    client: Client,
    key: IdempotencyKey,
    correlation_id: CorrelationId,
) -> AgentView:
    """The answer comes once a host of its type runs it. The agent outlives its hosts: its queue is durable, and each
    host of its type can go on with it."""
    wanted = await read_model(request, NewAgent)
    command = CreateAgent(
        agent_type=wanted.agent_type,
        agent_id=wanted.chosen_id,
        config=wanted.config,
        limits=wanted.limits.limits,
        request_id=id_for("create", key, client),
    )
    members = {} if wanted.chosen_id is None else {"agent_id": wanted.chosen_id}
    asking = edge.commands.ask(
        command,
        AgentCreated,
        actor=client,
        correlation_id=correlation_id,
        members=members,
        repeating="repeating this request with the same Idempotency-Key is safe"
        if key is not None
        else "look at GET /api/v1/agents before creating it again, or send an Idempotency-Key, with which repeating is"
        " safe",
        of=service("registry", seconds=seconds_to_wait(edge.settings, None) + REGISTRY_SAYS_SO),
    )
    try:
        created = await edge.waiting.wait(request, command.request_id, asking)
    except Problem as problem:
        raise _refused(problem, key) from None
    if created.repeated:
        response.headers[REPEATED_HEADER] = "true"
    response.headers["Location"] = href_of(request, "get_agent", agent_id=created.agent.agent_id)
    return show_agent(request, created.agent)


@router.get("/", include_in_schema=False, dependencies=[needs(Scope.AGENTS_READ)])
@router.get(
    "",
    operation_id="listAgents",
    dependencies=[needs(Scope.AGENTS_READ)],
    summary="List agents",
    responses={**ok({"items": [examples.AGENT], "next": examples.CURSOR}), **problems(400, 422, 503)},
)
async def list_agents(
    request: Request,
    edge: EdgeParts,
    agent_type: Annotated[str | None, Query(description="Only those of this type.")] = None,
    type: Annotated[str | None, Query(description="Another name for `agent_type`.")] = None,
    capability: Annotated[str | None, Query(description="Only those with this capability.")] = None,
    status: Annotated[list[AgentStatus] | None, Query(description="Only those with one of these.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> AgentPage:
    """By id. Each type has one default agent beside those that were created, under the type's name."""
    if agent_type is not None and type is not None and agent_type != type:
        message = "`agent_type` and `type` are two names of one filter, and say two things"
        raise Problem("invalid", message, errors=[{"path": "query.type", "code": "two_values", "message": message}])
    wanted = AgentFilter(
        agent_type=type if agent_type is None else agent_type,
        capability=capability,
        statuses=tuple(status) if status else None,
    )
    async with edge.reads.in_time():
        agents, following = await edge.store.list_agents(wanted, Page(limit, after))
    return AgentPage(items=[show_agent(request, agent) for agent in agents], next=following)


@router.get(
    "/{agent_id}",
    operation_id="getAgent",
    dependencies=[needs(Scope.AGENTS_READ)],
    summary="Get an agent: its type, status, configuration and hosts",
    responses={**ok(examples.AGENT), **problems(404, 422, 503)},
)
async def get_agent(request: Request, edge: EdgeParts, agent_id: AgentId) -> AgentView:
    async with edge.reads.in_time():
        agent = await edge.store.get_agent(agent_id)
    if agent is None:
        raise unknown_agent(agent_id)
    return show_agent(request, agent)


@router.delete(
    "/{agent_id}",
    operation_id="deleteAgent",
    dependencies=[needs(Scope.AGENTS_WRITE)],
    summary="Stop an agent and remove it; what it works on ends first",
    response_model=AgentStopped,
    responses={
        **ok(examples.STOPPED, description="It is gone"),
        **ok(examples.STOPPING, status=202, description="It works on something still", model=AgentStopping),
        **problems(404, 409, 422, 503, examples=examples.PROBLEMS),
    },
)
async def delete_agent(
    request: Request,
    edge: EdgeParts,
    agent_id: AgentId,
    client: Client,
    correlation_id: CorrelationId,
    timeout: Timeout = None,
) -> Any:
    """It takes nothing new from then on. Messages that still wait in its queue become dead letters. A type's default
    agent cannot be deleted (409)."""
    asking = edge.commands.ask(
        DeleteAgent(agent_id=agent_id),
        AgentDeleted,
        actor=client,
        correlation_id=correlation_id,
        members={"agent_id": agent_id},
        repeating="repeating this request is safe, and 404 then says that it is gone",
        of=service("registry", seconds=seconds_to_wait(edge.settings, timeout)),
    )
    try:
        # Each delete is a question of its own: any number may wait for the same agent's end.
        deleted = await edge.waiting.wait(request, id_for("delete", None), asking)
    except Problem as problem:
        if problem.kind != "unavailable" or not await _is_stopping(edge, agent_id):
            raise
        return JSONResponse(AgentStopping(agent_id=agent_id).model_dump(), 202)
    return AgentStopped(agent_id=agent_id, undelivered=deleted.undelivered)


def show_agent(request: Request, agent: AgentRecord) -> AgentView:
    href = href_of(request, "get_agent", agent_id=agent.agent_id)
    return AgentView(
        agent_id=agent.agent_id,
        agent_type=agent.agent_type,
        status=agent.status,
        capabilities=agent.capabilities,
        config=masked(agent.config),
        limits=agent.limits,
        hosts=agent.hosts,
        default=agent.default,
        created_at=utc(agent.created_at),
        error=masked_text(agent.error),
        href=href,
        links={
            "message": href_of(request, "send_message", agent_id=agent.agent_id),
            "types": href_of(request, "list_types"),
        },
    )


async def _is_stopping(edge: Edge, agent_id: str) -> bool:
    async with edge.reads.in_time():
        agent = await edge.store.get_agent(agent_id)
    return agent is not None and agent.status is AgentStatus.STOPPING


def unknown_agent(agent_id: str) -> Problem:
    return Problem("not-found", f"there is no agent {agent_id!r}; GET /api/v1/agents lists those there are")


def _refused(problem: Problem, key: str | None) -> Problem:
    """As the client's request has it: faults with their paths in its body, and what its key was used for before."""
    codes = {error["code"] for error in problem.members.get("errors", ())}
    if key is not None and REQUEST_REUSED in codes:
        detail = "this Idempotency-Key was used before, with another body, to create an agent that is there"
        return Problem("idempotency-key-reused", detail)
    return problem.below("body")
