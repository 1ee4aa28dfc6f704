"""A contract net's answer in plain language, built from its figures alone."""

from collections import Counter
from collections.abc import Sequence

from services.coordinator_agent.bidding import Reply
from services.coordinator_agent.contract_net_models import (
    AwardRecord,
    AwardRule,
    BidRecord,
    ContractNetInputs,
    NetOutcome,
)

_SHOWN = 5


def reason(
    request: ContractNetInputs, outcome: NetOutcome, replies: Sequence[Reply], awards: Sequence[AwardRecord]
) -> str:
    """Why there is no result; empty if there is one."""
    match outcome:
        case NetOutcome.DONE:
            return ""
        case NetOutcome.NO_AGENTS:
            return f"there is nobody to ask about {request.task.action}{_left_out(replies)}"
        case NetOutcome.NO_BIDS:
            return f"nobody bid for {request.task.action}: {_states(replies)}"
        case NetOutcome.NO_ACCEPTABLE_BID:
            return f"no bid for {request.task.action} keeps {_constraints(request)}: {_states(replies)}"
        case NetOutcome.FAILED:
            failed = "; ".join(f"{made.agent_id}: {made.error}" for made in awards[:_SHOWN])
            more = f"; and {len(awards) - _SHOWN} more" if len(awards) > _SHOWN else ""
            return f"everybody who was awarded {request.task.action} failed: {failed}{more}"


def rationale(
    request: ContractNetInputs, outcome: NetOutcome, bids: Sequence[BidRecord], awards: Sequence[AwardRecord]
) -> str:
    counts = Counter(bid.state for bid in bids)
    said = [f"{', '.join(f'{n} {state}' for state, n in sorted(counts.items())) or 'nobody'} of {len(bids)} concerned."]
    for number, made in enumerate(awards, start=1):
        bid = next(bid for bid in bids if bid.agent_id == made.agent_id)
        which = "The best" if number == 1 else "The next best"
        how = "did it" if made.ok else f"failed ({made.error})"
        said.append(f"{which} by {request.rule} was {made.agent_id} with {_offer(request, bid)}, and {how}.")
    if outcome is not NetOutcome.DONE and not awards:
        said.append("Nobody was awarded the task.")
    return " ".join(said)


def _offer(request: ContractNetInputs, bid: BidRecord) -> str:
    offer = f"cost {bid.cost:g} and confidence {bid.confidence:g}"
    if request.rule in (AwardRule.BEST_RATIO, AwardRule.WEIGHTED):
        score = "without limit" if bid.score is None else f"{bid.score:g}"
        return f"{offer} ({'ratio' if request.rule is AwardRule.BEST_RATIO else 'score'} {score})"
    return offer


def _constraints(request: ContractNetInputs) -> str:
    limits = []
    if request.max_cost is not None:
        limits.append(f"max_cost {request.max_cost:g}")
    if request.min_confidence is not None:
        limits.append(f"min_confidence {request.min_confidence:g}")
    return " and ".join(limits)


def _states(replies: Sequence[Reply]) -> str:
    counts = Counter(reply.state for reply in replies)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _left_out(replies: Sequence[Reply]) -> str:
    named = "; ".join(f"{reply.agent_id}: {reply.reason}" for reply in replies[:_SHOWN])
    return f" ({named})" if named else ""
