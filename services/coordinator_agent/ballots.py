"""From the ballots as sent to one uniform list: who voted, with what weight, and in which order of preference."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from services.coordinator_agent.vote_models import (
    MAX_ALTERNATIVES,
    AnyBallot,
    Ballot,
    DecisionBallot,
    Place,
    VoteInputs,
)
from services.runtime.agent import CapabilityError

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """One valid ballot. ``groups`` are the alternatives named, best first; those in one group are tied."""

    voter: str
    groups: Groups
    weight: Fraction
    reason: str

    @property
    def first(self) -> tuple[str, ...]:
        return self.groups[0]

    def rank_of(self, alternative: str) -> int | None:
        """Rank as in sport (1, 2, 2, 4), None if the ballot leaves the alternative out."""
        above = 0
        for group in self.groups:
            if alternative in group:
                return above + 1
            above += len(group)
        return None


@dataclass(frozen=True, slots=True)
class Poll:
    """All ballots of one vote; ``alternatives`` are in alphabetical order, so that nobody's order of voting shows."""

    alternatives: tuple[str, ...]
    votes: tuple[Vote, ...]
    abstained: tuple[str, ...]
    absent: tuple[str, ...]
    entitled: int

    @property
    def cast(self) -> int:
        return len(self.votes) + len(self.abstained)

    @property
    def total_weight(self) -> Fraction:
        return sum((vote.weight for vote in self.votes), Fraction(0))


def exact(number: float | str) -> Fraction:
    """The decimal as it was written: 0.1 is one tenth, so 0.1 + 0.2 ties with 0.3. Also reads ``"2/3"``."""
    return Fraction(str(number))


def read_poll(request: VoteInputs) -> Poll:
    """Read and check every ballot.

    Raises:
        CapabilityError: ``DuplicateVoter``, ``InvalidBallot``, ``InvalidWeights``, ``UnknownAlternative``,
            ``TooManyAlternatives`` or ``InvalidElectorate``, naming the voters concerned.
    """
    named = _named(request)
    _check_weights(request, named)
    votes: list[Vote] = []
    abstained: list[str] = []
    absent: list[str] = []
    for voter, ballot in named:
        if ballot is None:
            absent.append(voter)
            continue
        groups, reason = _preferences(voter, ballot)
        if not groups:
            abstained.append(voter)
            continue
        weight = getattr(ballot, "weight", None) or request.weights.get(voter, 1)
        votes.append(Vote(voter, groups, exact(weight), reason))
    entitled = len(named) if request.electorate is None else request.electorate
    if entitled < len(named):
        raise CapabilityError(
            f"electorate is {entitled}, but there are ballots of {len(named)} voters", code="InvalidElectorate"
        )
    return Poll(_alternatives(request, votes), tuple(votes), tuple(abstained), tuple(absent), entitled)


def _named(request: VoteInputs) -> list[tuple[str, AnyBallot]]:
    if isinstance(request.ballots, dict):
        for voter, ballot in request.ballots.items():
            inside = getattr(ballot, "voter", None)
            if inside is not None and inside != voter:
                raise _invalid(voter, f"names another voter, {inside!r}")
        return list(request.ballots.items())
    named = [(getattr(b, "voter", None) or f"#{i}", b) for i, b in enumerate(request.ballots, start=1)]
    repeated = _repeated(voter for voter, _ in named)
    if repeated:
        places = {v: [f"#{i}" for i, (name, _) in enumerate(named, start=1) if name == v] for v in repeated}
        text = "; ".join(f"{voter!r} as ballots {', '.join(at)}" for voter, at in places.items())
        raise CapabilityError(
            f"each voter has one ballot, but more came from: {text}", code="DuplicateVoter", details=places
        )
    return named


def _check_weights(request: VoteInputs, named: Sequence[tuple[str, AnyBallot]]) -> None:
    voters = dict(named)
    unknown = sorted(request.weights.keys() - voters.keys())
    if unknown:
        raise CapabilityError(
            f"weights name no voter: {', '.join(unknown)}; the voters are: {', '.join(sorted(voters))}",
            code="InvalidWeights",
        )
    twice = sorted(v for v in request.weights if getattr(voters[v], "weight", None) is not None)
    if twice:
        raise CapabilityError(
            f"weight given both in the ballot and in weights: {', '.join(twice)}", code="InvalidWeights"
        )


def _preferences(voter: str, ballot: str | Ballot | DecisionBallot) -> tuple[Groups, str]:
    if isinstance(ballot, str):
        return ((ballot,),), ""
    if isinstance(ballot, DecisionBallot):
        return _decided(voter, ballot), ballot.rationale
    return _groups(voter, ballot.choice, ballot.ranking or []), ballot.reason


def _decided(voter: str, decision: DecisionBallot) -> Groups:
    if decision.winner is None:
        return ()
    groups = _groups(voter, decision.winner, decision.ranking)
    # Of level first alternatives a decision calls one the winner, merely because one has to be named.
    return groups if decision.decided_by == "tie_break" else _by_rank(voter, decision.ranking) or groups


def _groups(voter: str, choice: str | None, ranking: Sequence[str | list[str] | Place]) -> Groups:
    groups = _by_rank(voter, ranking)
    repeated = _repeated(name for group in groups for name in group)
    if repeated:
        raise _invalid(voter, f"ranks more than once: {', '.join(repeated)}")
    if choice is None:
        return groups
    if not groups:
        return ((choice,),)
    if choice not in groups[0]:
        raise _invalid(voter, f"chooses {choice!r} but ranks {' and '.join(map(repr, groups[0]))} first")
    # A choice among alternatives ranked level first says more than the ranking: it goes ahead of them.
    others = tuple(name for name in groups[0] if name != choice)
    return ((choice,), *((others,) if others else ()), *groups[1:])


def _by_rank(voter: str, ranking: Sequence[str | list[str] | Place]) -> Groups:
    places = [entry for entry in ranking if isinstance(entry, Place)]
    if places and len(places) != len(ranking):
        raise _invalid(voter, "mixes names and objects with a rank; write all entries of a ranking in one form")
    if places:
        ranks = sorted({place.rank for place in places})
        return tuple(tuple(p.alternative for p in places if p.rank == rank) for rank in ranks)
    listed = [[entry] if isinstance(entry, str) else entry for entry in ranking if not isinstance(entry, Place)]
    return tuple(tuple(group) for group in listed if group)


def _alternatives(request: VoteInputs, votes: Sequence[Vote]) -> tuple[str, ...]:
    named_by: dict[str, str] = {}
    for vote in votes:
        for group in vote.groups:
            for name in group:
                named_by.setdefault(name, vote.voter)
    allowed = named_by.keys() if request.alternatives is None else set(request.alternatives)
    unknown = sorted(named_by.keys() - allowed)
    if unknown:
        text = "; ".join(f"{name!r} (ballot of {named_by[name]})" for name in unknown)
        raise CapabilityError(
            f"not among the alternatives: {text}; allowed are: {', '.join(sorted(allowed))}", code="UnknownAlternative"
        )
    unknown = sorted(set(request.tie_break) - allowed) if request.alternatives is not None else []
    if unknown:
        raise CapabilityError(
            f"tie_break names what is not among the alternatives: {', '.join(unknown)}; allowed are: "
            f"{', '.join(sorted(allowed))}",
            code="UnknownAlternative",
        )
    if len(allowed) > MAX_ALTERNATIVES:
        raise CapabilityError(
            f"the ballots name {len(allowed)} alternatives; at most {MAX_ALTERNATIVES} can be voted on",
            code="TooManyAlternatives",
        )
    return tuple(sorted(allowed))


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for name in names:
        if name in seen:
            repeated[name] = None
        seen.add(name)
    return list(repeated)


def _invalid(voter: str, what: str) -> CapabilityError:
    return CapabilityError(f"the ballot of {voter} {what}", code="InvalidBallot", details={"voter": voter})
