"""Who wins: one rule a method, then quorum and tie-break, which are the same for all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from services.coordinator_agent import tallies
from services.coordinator_agent.ballots import Poll, exact, read_poll
from services.coordinator_agent.tallies import Matrix, Scores
from services.coordinator_agent.vote_conventions import conventions
from services.coordinator_agent.vote_models import (
    Dissent,
    Method,
    Outcome,
    Pairwise,
    RankedAlternative,
    TallyLine,
    Turnout,
    VoteAnswer,
    VoteInputs,
)
from services.coordinator_agent.vote_rationale import rationale
from services.runtime.agent import CapabilityError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says before quorum and tie-break. ``leading`` are the alternatives on top: one if decided."""

    outcome: Outcome
    scores: Scores
    leading: tuple[str, ...] = ()
    decided_by: str | None = None
    matrix: Matrix | None = None

    @property
    def winner(self) -> str | None:
        return self.leading[0] if self.outcome is Outcome.DECIDED else None


def vote(request: VoteInputs) -> VoteAnswer:
    """Count the ballots and decide.

    Raises:
        CapabilityError: see ``read_poll``; ``WeightsNotUsed`` where ``majority`` is given unequal weights.
    """
    poll = read_poll(request)
    turnout = _turnout(request, poll)
    verdict = _RULES[request.method](request, poll)
    if not poll.votes:
        verdict = replace(verdict, outcome=Outcome.NO_VOTES, leading=(), decided_by=None)
    if not turnout.quorum_met:
        verdict = replace(verdict, outcome=Outcome.NO_QUORUM, leading=(), decided_by=None)
    settled = _break_tie(request, verdict)
    tied = verdict.leading if verdict.outcome is Outcome.TIE else ()
    answer = VoteAnswer(
        method=request.method,
        outcome=settled.outcome,
        winner=settled.winner,
        decided_by=settled.decided_by,
        tied=list(tied),
        ranking=_ranking(verdict.scores),
        tally=_tally(poll, verdict.scores),
        pairwise=_pairwise(verdict.matrix),
        dissent=_dissent(poll, settled.winner),
        abstained=sorted(poll.abstained),
        absent=sorted(poll.absent),
        turnout=turnout,
        rationale="",
        conventions=conventions(request),
    )
    return answer.model_copy(update={"rationale": rationale(request, answer)})


# ---- one rule a method


def _majority(request: VoteInputs, poll: Poll) -> Verdict:
    unequal = sorted(v.voter for v in poll.votes if v.weight != 1)
    if unequal:
        raise CapabilityError(
            f"majority counts every voter once, but weights other than 1 are given for: {', '.join(unequal)}; "
            "use the method 'weighted'",
            code="WeightsNotUsed",
        )
    return _weighted(request, poll)


def _weighted(request: VoteInputs, poll: Poll) -> Verdict:
    scores = tallies.first_choices(poll.alternatives, poll.votes)
    half = poll.total_weight / 2
    needed = (lambda score: score > half) if request.majority == "absolute" else (lambda score: True)
    return _highest(scores, request.method, needed)


def _quorum(request: VoteInputs, poll: Poll) -> Verdict:
    scores = tallies.first_choices(poll.alternatives, poll.votes)
    if request.threshold is None:
        half = poll.total_weight / 2
        return _highest(scores, request.method, lambda score: score > half)
    least = exact(request.threshold) * poll.total_weight
    return _highest(scores, request.method, lambda score: score >= least)


def _borda(request: VoteInputs, poll: Poll) -> Verdict:
    return _highest(tallies.borda(poll.alternatives, poll.votes), request.method)


def _condorcet(request: VoteInputs, poll: Poll) -> Verdict:
    matrix = tallies.pairwise(poll.alternatives, poll.votes)
    winner = tallies.condorcet_winner(matrix)
    if winner is not None:
        return Verdict(Outcome.DECIDED, tallies.copeland(matrix), (winner,), "condorcet", matrix)
    if request.fallback is None:
        return Verdict(Outcome.NO_CONDORCET_WINNER, tallies.copeland(matrix), matrix=matrix)
    scores = {
        "copeland": lambda: tallies.copeland(matrix),
        "schulze": lambda: tallies.schulze(matrix),
        "borda": lambda: tallies.borda(poll.alternatives, poll.votes),
    }[request.fallback]()
    return replace(_highest(scores, request.fallback), matrix=matrix)


_RULES: dict[Method, Callable[[VoteInputs, Poll], Verdict]] = {
    Method.MAJORITY: _majority,
    Method.WEIGHTED: _weighted,
    Method.BORDA: _borda,
    Method.CONDORCET: _condorcet,
    Method.QUORUM: _quorum,
}


def _highest(scores: Scores, decided_by: str, enough: Callable[[Fraction], bool] = lambda score: True) -> Verdict:
    top = max(scores.values(), default=Fraction(0))
    if not enough(top):
        return Verdict(Outcome.NO_MAJORITY, scores)
    leading = tuple(name for name, score in scores.items() if score == top)
    if len(leading) == 1:
        return Verdict(Outcome.DECIDED, scores, leading, decided_by)
    return Verdict(Outcome.TIE, scores, leading)


# ---- what is the same for all


def _turnout(request: VoteInputs, poll: Poll) -> Turnout:
    needed = None
    if request.quorum is not None:
        needed = request.quorum.voters or ceil(exact(request.quorum.fraction or 1) * poll.entitled)
    return Turnout(
        entitled=poll.entitled,
        cast=poll.cast,
        valid=len(poll.votes),
        abstained=len(poll.abstained),
        share=poll.cast / poll.entitled if poll.entitled else 0.0,
        quorum=needed,
        quorum_met=needed is None or poll.cast >= needed,
    )


def _break_tie(request: VoteInputs, verdict: Verdict) -> Verdict:
    if verdict.outcome is not Outcome.TIE:
        return verdict
    preferred = next((name for name in request.tie_break if name in verdict.leading), None)
    if preferred is None:
        return verdict
    return replace(verdict, outcome=Outcome.DECIDED, leading=(preferred,), decided_by="tie_break")


def _ranking(scores: Scores) -> list[RankedAlternative]:
    order = sorted(scores, key=lambda name: (-scores[name], name))
    above = {name: sum(other > scores[name] for other in scores.values()) for name in order}
    return [RankedAlternative(alternative=n, rank=above[n] + 1, score=float(scores[n])) for n in order]


def _tally(poll: Poll, scores: Scores) -> list[TallyLine]:
    firsts = tallies.first_choices(poll.alternatives, poll.votes)
    supporters: dict[str, list[str]] = {name: [] for name in poll.alternatives}
    for one in poll.votes:
        for name in one.first:
            supporters[name].append(one.voter)
    total = poll.total_weight
    return [
        TallyLine(
            alternative=place.alternative,
            score=place.score,
            first_choices=float(firsts[place.alternative]),
            share=float(firsts[place.alternative] / total) if total else 0.0,
            supporters=sorted(supporters[place.alternative]),
        )
        for place in _ranking(scores)
    ]


def _pairwise(matrix: Matrix | None) -> Pairwise | None:
    if matrix is None:
        return None
    return Pairwise(
        alternatives=list(matrix),
        preferred=[[0.0 if a == b else float(row[b]) for b in matrix] for a, row in matrix.items()],
    )


def _dissent(poll: Poll, winner: str | None) -> list[Dissent]:
    """Voters who did not put the winner first, alone or level with others; nobody where nothing is decided."""
    if winner is None:
        return []
    return [
        Dissent(
            voter=vote.voter,
            first=sorted(vote.first),
            rank_of_winner=vote.rank_of(winner),
            weight=float(vote.weight),
            reason=vote.reason,
        )
        for vote in sorted(poll.votes, key=lambda vote: vote.voter)
        if winner not in vote.first
    ]
