"""Consensus in rounds: the same question to several agents, from the second round on with the others' arguments shown.

Asking again with the others' reasons in view is the Delphi method, but for its anonymity (N. Dalkey, O. Helmer, "An
experimental application of the Delphi method to the use of experts", Management Science 9(3), 1963). Counting is in
``agreement``; here is what happens between agents.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from services.coordinator_agent.aggregation import value_at
from services.coordinator_agent.agreement import Count, count, dissent, round_of
from services.coordinator_agent.consensus_models import (
    AnsweringTask,
    ConsensusAnswer,
    ConsensusInputs,
    ConsensusOutcome,
    NotAsked,
    Position,
    Round,
)
from services.coordinator_agent.consensus_rationale import rationale, why_not
from services.coordinator_agent.peers import Chosen, Heard, ask_all, choose, conversation_id
from services.runtime.agent import BaseAgent, CapabilityError, report_progress
from services.runtime.agent.negotiation_messages import QUESTION, Opinion, Question, QuestionAnswered


async def consensus(asker: BaseAgent, request: ConsensusInputs) -> ConsensusAnswer:
    """Ask until enough agents agree, or the rounds are over."""
    conversation = conversation_id()
    chosen = _first(request, await choose(asker, request.agents, request.task.action if request.task else None))
    asked = [found.agent_id for found in chosen.asked]
    meant = len(asked) + len(chosen.left_out)
    positions: list[Position] = []
    rounds: list[Round] = []
    counted = Count(ConsensusOutcome.NO_QUORUM, 0.0, (), 0, request.at_least, False)
    for number in range(1, request.rounds + 1) if len(asked) >= request.at_least else ():
        heard = await _round(asker, request, conversation, asked, number, positions)
        positions = [position_of(request, agent_id, number, heard[agent_id]) for agent_id in asked]
        counted = await asyncio.to_thread(count, request, positions, meant)
        rounds.append(round_of(number, positions, counted))
        report_progress(number / request.rounds, f"round {number}: {counted.share:.0%} agree")
        if counted.outcome is ConsensusOutcome.CONSENSUS:
            break
    return _answer(request, conversation, chosen, rounds, counted)


def _first(request: ConsensusInputs, chosen: Chosen) -> Chosen:
    return chosen if request.at_most is None else Chosen(chosen.asked[: request.at_most], chosen.left_out)


async def _round(
    asker: BaseAgent,
    request: ConsensusInputs,
    conversation: str,
    asked: Sequence[str],
    number: int,
    before: Sequence[Position],
) -> Mapping[str, Heard]:
    # An answer is found by the message it answers: one that comes after its round is over is not counted in the next.
    reply_by = time.time() + request.deadline
    bodies = {}
    for agent_id in asked:
        others = opinions(before, agent_id)
        question = Question(
            conversation_id=conversation,
            sender_id=asker.agent_id,
            reply_by=reply_by,
            question=request.question,
            round=number,
            others=others,
            action=request.task.action if request.task else None,
            inputs=_inputs(request.task, number, others) if request.task else {},
        )
        bodies[agent_id] = question.model_dump(mode="json")
    return await ask_all(asker, bodies, QUESTION, request.deadline)


def opinions(before: Sequence[Position], agent_id: str) -> tuple[Opinion, ...]:
    """What the others answered in the round before."""
    return tuple(
        Opinion(agent_id=one.agent_id, answer=one.answer, argument=one.argument)
        for one in before
        if one.state == "answered" and one.agent_id != agent_id
    )


def _inputs(task: AnsweringTask, number: int, others: Sequence[Opinion]) -> dict[str, Any]:
    if number == 1 or task.others is None:
        return task.inputs
    return {**task.inputs, task.others: [other.model_dump(mode="json") for other in others]}


def position_of(request: ConsensusInputs, agent_id: str, number: int, heard: Heard) -> Position:
    """An answer to a question of round ``number``, read."""
    weight = request.weights.get(agent_id, 1.0)

    def without(state: Any, reason: str) -> Position:
        return Position(agent_id=agent_id, state=state, reason=reason, weight=weight, seconds=heard.seconds)

    if heard.body is None:
        return without(heard.state, heard.reason)
    try:
        said = QuestionAnswered.model_validate(heard.body)
        answer, argument = _said(request.task, agent_id, said)
    except ValidationError as error:
        return without("failed", f"its answer cannot be read: {error}")
    except CapabilityError as error:
        return without("failed", str(error))
    if said.round != number:
        return without("failed", f"it answered round {said.round}")
    if said.failed is not None:
        return without("failed", said.failed)
    if answer is None:
        return without("abstained", "")
    return Position(
        agent_id=agent_id, state="answered", answer=answer, argument=argument, weight=weight, seconds=heard.seconds
    )


def _said(task: AnsweringTask | None, agent_id: str, said: QuestionAnswered) -> tuple[Any, str]:
    """The answer and the argument. Null is an abstention, in an output as elsewhere."""
    if said.answer is not None:
        return said.answer.answer, said.answer.argument
    if said.output is None or task is None:
        return None, ""
    argument = value_at(agent_id, said.output, task.argument) if task.argument else None
    text = argument if isinstance(argument, str) else "" if argument is None else json.dumps(argument)
    return value_at(agent_id, said.output, task.answer), text


def _answer(
    request: ConsensusInputs, conversation: str, chosen: Chosen, rounds: list[Round], counted: Count
) -> ConsensusAnswer:
    positions = rounds[-1].positions if rounds else []
    reached = counted.outcome is ConsensusOutcome.CONSENSUS
    dissenters = dissent(positions, counted)
    found = len(chosen.asked)
    return ConsensusAnswer(
        reached=reached,
        outcome=counted.outcome,
        answer=counted.leading.answer if reached and counted.leading else None,
        share=counted.share,
        reason="" if reached else why_not(request, found, counted),
        conversation_id=conversation,
        asked=[agent.agent_id for agent in chosen.asked],
        not_asked=[NotAsked(agent_id=one.agent_id, reason=one.reason) for one in chosen.left_out],
        silent=[one.agent_id for one in positions if one.state in ("failed", "silent")],
        dissent=dissenters,
        rounds=rounds,
        rationale=rationale(request, found, rounds, counted, dissenters),
    )
