"""A consensus in plain language, built from its figures alone."""

from collections.abc import Sequence
from typing import Any

from services.coordinator_agent.agreement import Count, canonical
from services.coordinator_agent.consensus_models import ConsensusInputs, ConsensusOutcome, Dissenter, Round

_SHOWN = 5
_LONGEST = 200


def why_not(request: ConsensusInputs, found: int, counted: Count) -> str:
    """Why there is no consensus."""
    if found < request.at_least:
        return f"{found} of the agents that are meant can be asked, and at least {request.at_least} are needed"
    if not counted.quorum_met:
        return f"{counted.answered} answered, and the quorum is {counted.quorum}"
    if counted.leading is None:
        return "everybody abstained"
    leading = f"{counted.share:.1%} of the answers agree on {shown(counted.leading.answer)}"
    if counted.tied:
        return f"{leading}, and as many on another"
    return f"{leading}, and {_needed(request)} is needed"


def rationale(
    request: ConsensusInputs, found: int, rounds: Sequence[Round], counted: Count, dissenters: Sequence[Dissenter]
) -> str:
    if counted.outcome is not ConsensusOutcome.CONSENSUS or counted.leading is None:
        after = f" after {_count(len(rounds), 'round')}" if rounds else ""
        return f"No consensus{after}: {why_not(request, found, counted)}."
    agreed = f"Consensus in round {len(rounds)}: {counted.share:.1%} of the answers agree on"
    said = [f"{agreed} {shown(counted.leading.answer)}, and {_needed(request)} is needed."]
    if not dissenters:
        return f"{said[0]} Nobody dissents."
    named = "; ".join(f"{one.agent_id} ({shown(one.answer)})" for one in dissenters[:_SHOWN])
    more = f"; and {len(dissenters) - _SHOWN} more" if len(dissenters) > _SHOWN else ""
    return f"{said[0]} Dissent: {named}{more}."


def shown(answer: Any) -> str:
    text = canonical(answer)
    return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text


def _needed(request: ConsensusInputs) -> str:
    return "more than half" if request.threshold is None else f"at least {request.threshold}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
