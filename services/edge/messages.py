"""Messages to agents: to one of them, waiting for its answer or not, and to all that a filter matches."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, status
from starlette.responses import JSONResponse

from contracts.agents import AgentStatus
from contracts.registry import AgentMail, AgentReply, BroadcastMail, BroadcastSent
from services.edge import agent_examples as examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.agent_models import BroadcastSentView, MessageAnswered, MessageSent, NewBroadcast, NewMessage
from services.edge.agents import unknown_agent
from services.edge.bodies import read_model
from services.edge.commands import Taker, Unanswered, service
from services.edge.dependencies import AgentId, Client, CorrelationId, Edge, EdgeParts, IdempotencyKey, id_for
from services.edge.openapi import body, ok, problems
from services.edge.problems import Problem
from services.edge.waiting import Timeout, seconds_to_wait
from services.runtime.masking import masked_text, without_keys

router = APIRouter(prefix="/agents", tags=["agents"])

# One registry publishes every copy, and may have other commands before this one.
BROADCAST_SECONDS = 10.0


@router.post(
    "/broadcast",
    operation_id="broadcastMessage",
    dependencies=[needs(Scope.AGENTS_MESSAGE)],
    summary="Send one message to every agent that a filter matches",
    status_code=status.HTTP_202_ACCEPTED,
    responses={
        **ok(examples.BROADCAST_SENT, status=202, description="Every copy is in its agent's queue"),
        **problems(400, 408, 409, 413, 415, 422, 503, examples=examples.PROBLEMS),
    },
    openapi_extra=body("NewBroadcast", examples.NEW_BROADCAST, required=True),
)
async def broadcast_message(
    request: Request, edge: EdgeParts, client: Client, key: IdempotencyKey, correlation_id: CorrelationId
) -> BroadcastSentView:
    """No answers are awaited. Where the filter matches nobody, `count` is 0 and nothing was sent."""
    wanted = await read_model(request, NewBroadcast)
    message_id = id_for("broadcast", key, client)
    command = BroadcastMail(
        body=wanted.content, message_type=wanted.message_type, sender_id=client, filter=wanted.filter.filter
    )
    asking = edge.commands.ask(
        command,
        BroadcastSent,
        actor=client,
        correlation_id=correlation_id,
        members={"broadcast_id": message_id},
        repeating=_repeating(key),
        of=service("registry", seconds=BROADCAST_SECONDS),
        message_id=message_id,
    )
    sent = await edge.waiting.wait(request, message_id, asking)
    return BroadcastSentView(
        broadcast_id=sent.broadcast_id,
        timestamp=datetime.now(UTC),
        agent_ids=sent.agent_ids,
        count=len(sent.agent_ids),
    )


@router.post(
    "/{agent_id}/message",
    operation_id="sendMessage",
    dependencies=[needs(Scope.AGENTS_MESSAGE)],
    summary="Send an agent a message, and wait for its answer if wanted",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=MessageSent,
    responses={
        **ok(examples.SENT, status=202, description="In the agent's queue"),
        **ok(examples.ANSWERED, description="The agent answered (`wait=true`)", model=MessageAnswered),
        **problems(400, 404, 408, 409, 413, 415, 422, 503, 504, examples=examples.MESSAGE_PROBLEMS),
    },
    openapi_extra=body("NewMessage", examples.NEW_MESSAGE, required=True),
)
async def send_message(
    request: Request,
    edge: EdgeParts,
    agent_id: AgentId,
    client: Client,
    key: IdempotencyKey,
    correlation_id: CorrelationId,
    wait: Annotated[bool, Query(description="Wait for the agent's answer.")] = False,
    timeout: Timeout = None,
) -> Any:
    """The queue is durable: the message waits in it while the agent is busy or its hosts are away. A message that its
    agent fails on is tried again, and becomes a dead letter after the last time. The same Idempotency-Key is the same
    message id, by which an agent can know a message that it has had before."""
    wanted = await read_model(request, NewMessage)
    await _require_agent(edge, agent_id)
    message_id = id_for("msg", key, client, agent_id)
    mail = AgentMail(agent_id=agent_id, body=wanted.content, message_type=wanted.message_type, sender_id=client)
    members = {"agent_id": agent_id, "message_id": message_id}
    if not wait:
        await edge.commands.send(
            mail,
            actor=client,
            to=_taker(agent_id),
            message_id=message_id,
            correlation_id=correlation_id,
            members=members,
            repeating=_repeating(key),
        )
        return MessageSent(message_id=message_id, timestamp=datetime.now(UTC))
    seconds = seconds_to_wait(edge.settings, timeout)
    asking = edge.commands.ask(
        mail,
        AgentReply,
        actor=client,
        of=_taker(agent_id, seconds),
        message_id=message_id,
        correlation_id=correlation_id,
        members=members,
        repeating=_repeating(key),
    )
    try:
        reply = await edge.waiting.wait(request, message_id, asking)
    except Unanswered:
        raise _no_reply(agent_id, message_id, seconds) from None
    answered = _answered(message_id, reply)
    return JSONResponse(answered.model_dump(mode="json"), status.HTTP_200_OK)


async def _require_agent(edge: Edge, agent_id: str) -> None:
    """
    Raises:
        Problem: there is no such agent, or it takes no messages any more.
    """
    async with edge.reads.in_time():
        agent = await edge.store.get_agent(agent_id)
    if agent is None:
        raise unknown_agent(agent_id)
    if agent.status in (AgentStatus.STOPPING, AgentStatus.STOPPED):
        raise Problem("conflict", f"agent {agent_id!r} is {agent.status.value} and takes no messages any more")


def _taker(agent_id: str, seconds: float | None = None) -> Taker:
    absent = f"agent {agent_id!r} has no queue: no host has begun to run it; nothing was sent"
    return Taker(f"agent {agent_id!r}", absent, seconds)


def _answered(message_id: str, reply: AgentReply) -> MessageAnswered:
    """
    Raises:
        Problem: the agent says that it could not answer.
    """
    if reply.error is not None:
        members = {"agent_id": reply.agent_id, "message_id": message_id, "code": reply.code}
        raise Problem(
            "agent-failed", f"agent {reply.agent_id!r} could not answer: {masked_text(reply.error)}", members=members
        )
    return MessageAnswered(message_id=message_id, timestamp=datetime.now(UTC), reply=without_keys(reply.body))


def _no_reply(agent_id: str, message_id: str, seconds: float) -> Problem:
    detail = (
        f"no answer from agent {agent_id!r} within {seconds:g} s. The message was sent and may still be handled; its"
        " answer will not be kept. `timeout` waits longer"
    )
    return Problem("no-reply", detail, members={"agent_id": agent_id, "message_id": message_id})


def _repeating(key: str | None) -> str:
    if key is None:
        return "repeating this request sends the message once more; with an Idempotency-Key it has the same id"
    return "repeating this request with the same Idempotency-Key sends the message again under the same id"
