"""Whether answers agree, and how many of them: pure counting, of one round."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

from services.coordinator_agent.ballots import exact
from services.coordinator_agent.consensus_models import (
    AnswerLine,
    ConsensusInputs,
    ConsensusOutcome,
    Dissenter,
    Position,
    Round,
)
from services.coordinator_agent.vote_models import Quorum


def canonical(answer: Any) -> str:
    """The one text of a JSON value: sorted keys, no spaces, and 1.0 written as 1."""
    return json.dumps(_plain(answer), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def distance(a: Any, b: Any, tolerance: Fraction) -> Fraction | None:
    """How far two answers that agree are apart: the sum over their numbers. None: they do not agree.

    They agree if they are the same JSON, but for numbers that differ by no more than the tolerance.
    """
    if _is_number(a) and _is_number(b):
        apart = abs(exact(a) - exact(b))
        return apart if apart <= tolerance else None
    if isinstance(a, dict) and isinstance(b, dict):
        return _sum(a, b, tolerance, a) if a.keys() == b.keys() else None
    if isinstance(a, list) and isinstance(b, list):
        return _sum(a, b, tolerance, range(len(a))) if len(a) == len(b) else None
    return Fraction(0) if type(a) is type(b) and a == b else None


def _sum(a: Any, b: Any, tolerance: Fraction, places: Any) -> Fraction | None:
    total = Fraction(0)
    for place in places:
        apart = distance(a[place], b[place], tolerance)
        if apart is None:
            return None
        total += apart
    return total


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---- counting


@dataclass(slots=True)
class Group:
    """Those who gave exactly the same answer, and what agrees with it."""

    text: str
    answer: Any
    agents: list[str] = field(default_factory=list)
    weight: Fraction = Fraction(0)
    support: Fraction = Fraction(0)
    apart: Fraction = Fraction(0)
    agrees: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Count:
    """One round, counted. ``groups`` are in order, the leading answer first; ``share`` is that one's."""

    outcome: ConsensusOutcome
    share: float
    groups: tuple[Group, ...]
    answered: int
    quorum: int
    tied: bool

    @property
    def quorum_met(self) -> bool:
        return self.answered >= self.quorum

    @property
    def leading(self) -> Group | None:
        return self.groups[0] if self.groups else None


def count(request: ConsensusInputs, positions: Sequence[Position], meant: int) -> Count:
    """Count a round. ``meant`` is how many agents a quorum is a share of.

    An answer is supported by all that agree with it. The leading one has the most support by weight; of equal ones the
    one that more gave exactly, then the one nearest to its supporters, then the first by its text. It is the consensus
    if its share is enough and no answer that disagrees with it has as much.
    """
    groups = grouped(request, [position for position in positions if position.state == "answered"])
    total = sum((group.weight for group in groups), Fraction(0))
    answered = sum(position.state in ("answered", "abstained") for position in positions)
    needed = heads(request.quorum, meant)
    share = groups[0].support / total if groups else Fraction(0)
    tied = any(g.support == groups[0].support and g.text not in groups[0].agrees for g in groups[1:])
    if answered < needed:
        outcome = ConsensusOutcome.NO_QUORUM
    elif groups and not tied and enough(request, share):
        outcome = ConsensusOutcome.CONSENSUS
    else:
        outcome = ConsensusOutcome.NO_CONSENSUS
    return Count(outcome, float(share), tuple(groups), answered, needed, tied)


def heads(quorum: Quorum, meant: int) -> int:
    """How many agents a quorum is; at least one."""
    return quorum.voters or max(1, ceil(exact(quorum.fraction or 1) * meant))


def enough(request: ConsensusInputs, share: Fraction) -> bool:
    if request.threshold is None:
        return share > Fraction(1, 2)
    return share >= exact(request.threshold)


def grouped(request: ConsensusInputs, positions: Sequence[Position]) -> list[Group]:
    """The different answers in order, the leading one first."""
    groups: dict[str, Group] = {}
    for position in sorted(positions, key=lambda one: one.agent_id):
        text = canonical(position.answer)
        group = groups.setdefault(text, Group(text, position.answer))
        group.agents.append(position.agent_id)
        group.weight += exact(position.weight)
    for group in groups.values():
        _support(group, groups, request)
    return sorted(groups.values(), key=lambda g: (-g.support, -g.weight, g.apart, g.text))


def _support(group: Group, groups: Mapping[str, Group], request: ConsensusInputs) -> None:
    if request.tolerance is None:
        group.agrees, group.support = {group.text}, group.weight
        return
    tolerance = exact(request.tolerance)
    for other in groups.values():
        apart = distance(group.answer, other.answer, tolerance)
        if apart is not None:
            group.agrees.add(other.text)
            group.support += other.weight
            group.apart += apart * other.weight


# ---- the record


def round_of(number: int, positions: Sequence[Position], counted: Count) -> Round:
    total = sum((group.weight for group in counted.groups), Fraction(0))
    return Round(
        round=number,
        positions=list(positions),
        answers=[
            AnswerLine(
                answer=group.answer,
                agents=group.agents,
                weight=float(group.weight),
                share=float(group.support / total),
            )
            for group in counted.groups
        ],
        answered=counted.answered,
        quorum=counted.quorum,
        quorum_met=counted.quorum_met,
        outcome=counted.outcome,
    )


def dissent(positions: Sequence[Position], counted: Count) -> list[Dissenter]:
    """Who answered otherwise; nobody where there is no consensus to dissent from."""
    if counted.outcome is not ConsensusOutcome.CONSENSUS or counted.leading is None:
        return []
    return [
        Dissenter(agent_id=one.agent_id, answer=one.answer, argument=one.argument, weight=one.weight)
        for one in positions
        if one.state == "answered" and canonical(one.answer) not in counted.leading.agrees
    ]
