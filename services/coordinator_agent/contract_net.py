"""The contract net: call for proposals, collect bids, award the task, go on to the next best, tell the others.

R. G. Smith, "The contract net protocol", IEEE Transactions on Computers C-29(12), 1980, pp. 1104-1113; the messages
follow FIPA SC00029H (2002). Deciding is in ``bidding``; here is what happens between agents.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from services.coordinator_agent.bidding import Ranked, Reply, ranked, record
from services.coordinator_agent.contract_net_models import (
    AwardRecord,
    ContractNetAnswer,
    ContractNetInputs,
    NetOutcome,
)
from services.coordinator_agent.net_rationale import rationale, reason
from services.coordinator_agent.peers import Chosen, Heard, ask_all, ask_one, choose, conversation_id
from services.runtime.agent import BaseAgent, CapabilityError, report_progress
from services.runtime.agent.negotiation_messages import (
    AWARD,
    CALL,
    REJECT,
    Award,
    CallForProposals,
    Fulfilment,
    Proposal,
    Rejection,
)

log = structlog.get_logger(__name__)


async def contract_net(manager: BaseAgent, request: ContractNetInputs) -> ContractNetAnswer:
    """Have a task done by whoever offers it best.

    Raises:
        CapabilityError: ``NoAward`` or ``AwardFailed``, if that was asked for.
    """
    conversation = conversation_id()
    chosen = await choose(manager, request.agents, request.task.action)
    replies = await _proposals(manager, request, conversation, chosen)
    ranking = ranked(request, replies)
    awards: list[AwardRecord] = []
    result = None
    for place in ranking[: 1 + request.next_best]:
        report_progress(1 - 0.5 ** (len(awards) + 1), f"awarded to {place.reply.agent_id}")
        made, result = await _award(manager, request, conversation, place)
        awards.append(made)
        if made.ok:
            break
    outcome = _outcome(chosen, replies, ranking, awards)
    bids = record(request, replies, ranking, awards)
    answer = ContractNetAnswer(
        outcome=outcome,
        awarded=awards[-1].agent_id if outcome is NetOutcome.DONE else None,
        result=result,
        reason=reason(request, outcome, replies, awards),
        rule=request.rule,
        conversation_id=conversation,
        asked=len(chosen.asked),
        bids=bids,
        awards=awards,
        rationale=rationale(request, outcome, bids, awards),
    )
    await _tell_refused(manager, request, answer)
    if outcome is not NetOutcome.DONE and request.on_no_result == "error":
        code = "AwardFailed" if outcome is NetOutcome.FAILED else "NoAward"
        raise CapabilityError(answer.reason, code=code, details=answer.model_dump(mode="json"))
    return answer


async def _proposals(manager: BaseAgent, request: ContractNetInputs, conversation: str, chosen: Chosen) -> list[Reply]:
    """What everybody has to say to the call."""
    call = CallForProposals(
        conversation_id=conversation,
        sender_id=manager.agent_id,
        reply_by=time.time() + request.deadline,
        action=request.task.action,
        inputs=request.task.inputs,
    ).model_dump(mode="json")
    types = {found.agent_id: found.agent_type for found in chosen.asked}
    heard = await ask_all(manager, dict.fromkeys(types, call), CALL, request.deadline)
    left_out = [Reply(one.agent_id, one.agent_type, one.state, reason=one.reason) for one in chosen.left_out]
    return [*(reply_of(agent_id, types[agent_id], heard[agent_id]) for agent_id in types), *left_out]


def reply_of(agent_id: str, agent_type: str, heard: Heard) -> Reply:
    """An answer to a call, read."""
    if heard.state == "silent":
        return Reply(agent_id, agent_type, "silent", reason=heard.reason)
    if heard.body is None:
        return Reply(agent_id, agent_type, "failed", reason=heard.reason, seconds=heard.seconds)
    try:
        proposal = Proposal.model_validate(heard.body)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return Reply(agent_id, agent_type, "failed", reason=f"its bid is none: {faults}", seconds=heard.seconds)
    if proposal.bid is not None:
        return Reply(agent_id, agent_type, "bid", proposal.bid, seconds=heard.seconds)
    if proposal.failed is not None:
        return Reply(agent_id, agent_type, "failed", reason=proposal.failed, seconds=heard.seconds)
    declined = f"it declined: {proposal.declined}" if proposal.declined else "it declined"
    return Reply(agent_id, agent_type, "declined", reason=declined, seconds=heard.seconds)


async def _award(
    manager: BaseAgent, request: ContractNetInputs, conversation: str, place: Ranked
) -> tuple[AwardRecord, dict[str, Any] | None]:
    """Give one bidder the task and wait for what becomes of it."""
    agent_id = place.reply.agent_id
    award = Award(
        conversation_id=conversation,
        sender_id=manager.agent_id,
        reply_by=time.time() + request.work_timeout,
        action=request.task.action,
        inputs=request.task.inputs,
        bid=place.bid,
    )
    heard = await ask_one(manager, agent_id, award.model_dump(mode="json"), AWARD, request.work_timeout)
    if heard.body is None:
        code = "Timeout" if heard.state == "silent" else "AgentFailed"
        return _failed(agent_id, heard.seconds, heard.reason, code), None
    try:
        done = Fulfilment.model_validate(heard.body)
    except ValidationError as error:
        return _failed(agent_id, heard.seconds, f"its answer cannot be read: {error}", "InvalidOutput"), None
    if done.error is not None or done.output is None:
        return _failed(agent_id, heard.seconds, done.error or "it answered nothing", done.code), None
    return AwardRecord(agent_id=agent_id, ok=True, seconds=heard.seconds), done.output


def _failed(agent_id: str, seconds: float, error: str, code: str) -> AwardRecord:
    return AwardRecord(agent_id=agent_id, ok=False, seconds=seconds, error=error, code=code)


def _outcome(
    chosen: Chosen, replies: Sequence[Reply], ranking: Sequence[Ranked], awards: Sequence[AwardRecord]
) -> NetOutcome:
    if awards:
        return NetOutcome.DONE if awards[-1].ok else NetOutcome.FAILED
    if not chosen.asked:
        return NetOutcome.NO_AGENTS
    if not any(reply.bid for reply in replies):
        return NetOutcome.NO_BIDS
    return NetOutcome.NO_ACCEPTABLE_BID


async def _tell_refused(manager: BaseAgent, request: ContractNetInputs, answer: ContractNetAnswer) -> None:
    """Tell the bidders that never got the task. Only now: each of them might have been the next best."""
    awarded = {made.agent_id for made in answer.awards}
    refused = [bid for bid in answer.bids if bid.state == "bid" and bid.agent_id not in awarded]
    told = (
        manager.send_message(
            bid.agent_id,
            Rejection(
                conversation_id=answer.conversation_id,
                sender_id=manager.agent_id,
                action=request.task.action,
                reason=bid.not_chosen or "",
            ).model_dump(mode="json"),
            message_type=REJECT,
        )
        for bid in refused
    )
    for bid, failure in zip(refused, await asyncio.gather(*told, return_exceptions=True), strict=True):
        if isinstance(failure, BaseException):
            log.warning("a refused bidder was not told", bidder_agent_id=bid.agent_id, error=repr(failure))
