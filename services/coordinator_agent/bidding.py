"""Which bid gets the task: what is acceptable, in which order, and why the others were not chosen. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from services.coordinator_agent.ballots import exact
from services.coordinator_agent.contract_net_models import (
    AwardRecord,
    AwardRule,
    BidRecord,
    BidWeights,
    ContractNetInputs,
    State,
)
from services.runtime.agent import Bid

Order = tuple[Fraction, ...]  # lower goes first


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of asking one agent. ``reason`` says why there is no bid; ``seconds`` is the time after the call."""

    agent_id: str
    agent_type: str
    state: State
    bid: Bid | None = None
    reason: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """An acceptable bid in its place. ``score`` is None for an infinite ratio; ``level_with_next`` says that the rule
    alone does not put it before the next."""

    reply: Reply
    bid: Bid
    rank: int
    score: float | None
    order: Order


def unacceptable(request: ContractNetInputs, bid: Bid) -> str:
    """Which constraint a bid breaks, in words; empty if none."""
    if request.max_cost is not None and bid.cost > request.max_cost:
        return f"its cost {bid.cost:g} is above max_cost {request.max_cost:g}"
    if request.min_confidence is not None and bid.confidence < request.min_confidence:
        return f"its confidence {bid.confidence:g} is below min_confidence {request.min_confidence:g}"
    return ""


def ranked(request: ContractNetInputs, replies: Sequence[Reply]) -> list[Ranked]:
    """The acceptable bids, the one to award first. The order depends on the bids alone, and for ``earlier_bid`` on when
    they came."""
    bids = [(reply, reply.bid) for reply in replies if reply.bid and not unacceptable(request, reply.bid)]
    highest = max((exact(bid.cost) for _, bid in bids), default=Fraction(0))
    scored = [(_score(request, bid, highest), reply, bid) for reply, bid in bids]

    def order(entry: tuple[tuple[Order, float | None], Reply, Bid]) -> tuple[Order, Order, str]:
        (by_rule, _), reply, bid = entry
        return by_rule, tuple(_TIES[tie](reply, bid) for tie in request.ties), reply.agent_id

    return [
        Ranked(reply, bid, rank, score, by_rule)
        for rank, ((by_rule, score), reply, bid) in enumerate(sorted(scored, key=order), start=1)
    ]


def _score(request: ContractNetInputs, bid: Bid, highest: Fraction) -> tuple[Order, float | None]:
    """The bid's place by the rule, as decimals were written (so that equal ones are equal), and its figure."""
    cost, confidence = exact(bid.cost), exact(bid.confidence)
    match request.rule:
        case AwardRule.LOWEST_COST:
            return (cost,), bid.cost
        case AwardRule.HIGHEST_CONFIDENCE:
            return (-confidence,), bid.confidence
        case AwardRule.BEST_RATIO:
            if cost == 0 and confidence > 0:
                return (Fraction(0), -confidence), None
            ratio = confidence / cost if cost else Fraction(0)
            return (Fraction(1), -ratio), _shown(ratio)
        case AwardRule.WEIGHTED:
            weighted = weighted_score(request.weights or BidWeights(cost=1, confidence=1), cost, confidence, highest)
            return (-weighted,), float(weighted)


def weighted_score(weights: BidWeights, cost: Fraction, confidence: Fraction, highest: Fraction) -> Fraction:
    """(weight of cost × (1 − cost / highest cost) + weight of confidence × confidence) / sum of the weights: from 0 to
    1. ``highest`` is the highest cost among the acceptable bids; where that is 0, every bid has the full part of cost.
    """
    cheapness = 1 - cost / highest if highest else Fraction(1)
    by_cost, by_confidence = exact(weights.cost), exact(weights.confidence)
    return (by_cost * cheapness + by_confidence * confidence) / (by_cost + by_confidence)


def _shown(ratio: Fraction) -> float | None:
    try:
        return float(ratio)
    except OverflowError:
        return None


_TIES: Mapping[str, Callable[[Reply, Bid], Fraction]] = {
    "lower_cost": lambda _, bid: exact(bid.cost),
    "higher_confidence": lambda _, bid: -exact(bid.confidence),
    "earlier_bid": lambda reply, _: exact(reply.seconds or 0),
}


# ---- the record


def record(
    request: ContractNetInputs, replies: Sequence[Reply], ranking: Sequence[Ranked], awards: Sequence[AwardRecord]
) -> list[BidRecord]:
    """Everybody who was concerned: acceptable bids by rank, then the other bids, then the rest, each by id."""
    places = {place.reply.agent_id: place for place in ranking}
    made = {award.agent_id: award for award in awards}
    records = [_line(request, reply, places.get(reply.agent_id), made, ranking) for reply in replies]
    return sorted(records, key=lambda line: (line.rank or len(replies) + 1, line.state != "bid", line.agent_id))


def _line(
    request: ContractNetInputs,
    reply: Reply,
    place: Ranked | None,
    made: Mapping[str, AwardRecord],
    ranking: Sequence[Ranked],
) -> BidRecord:
    bid = reply.bid
    return BidRecord(
        agent_id=reply.agent_id,
        agent_type=reply.agent_type,
        state=reply.state,
        seconds=reply.seconds,
        cost=bid.cost if bid else None,
        confidence=bid.confidence if bid else None,
        note=bid.note if bid else "",
        details=bid.details if bid else {},
        rank=place.rank if place else None,
        score=place.score if place else None,
        not_chosen=_not_chosen(request, reply, place, made, ranking),
    )


def _not_chosen(
    request: ContractNetInputs,
    reply: Reply,
    place: Ranked | None,
    made: Mapping[str, AwardRecord],
    ranking: Sequence[Ranked],
) -> str | None:
    if reply.bid is None:
        return reply.reason or reply.state
    if place is None:
        return unacceptable(request, reply.bid)
    award = made.get(reply.agent_id)
    if award is not None:
        return None if award.ok else f"it was awarded the task and failed: {award.error}"
    winner = next((other for other in ranking if other.reply.agent_id in made and made[other.reply.agent_id].ok), None)
    if winner is None:
        return f"{_awards(len(made))} had failed, and no more were to be made (next_best is {request.next_best})"
    if winner.order == place.order:
        return f"level with {winner.reply.agent_id} by {request.rule}, which comes first by: {_tie_rules(request)}"
    figures = f"{_figures(request, winner)}, not {_figures(request, place)}"
    return f"{winner.reply.agent_id} is better by {request.rule}: {figures}"


def _awards(count: int) -> str:
    return f"{count} award{'' if count == 1 else 's'}"


def _tie_rules(request: ContractNetInputs) -> str:
    return ", ".join([*request.ties, "agent id"])


def _figures(request: ContractNetInputs, place: Ranked) -> str:
    match request.rule:
        case AwardRule.LOWEST_COST:
            return f"cost {place.bid.cost:g}"
        case AwardRule.HIGHEST_CONFIDENCE:
            return f"confidence {place.bid.confidence:g}"
        case AwardRule.BEST_RATIO:
            shown = "without limit" if place.score is None else f"{place.score:g}"
            return f"ratio {shown}"
        case AwardRule.WEIGHTED:
            return f"score {place.score:g}"
