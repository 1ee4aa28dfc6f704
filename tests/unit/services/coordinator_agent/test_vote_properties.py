"""Laws that the methods must keep on any ballots (Hypothesis)."""

import itertools
import string
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.coordinator_agent import tallies
from services.coordinator_agent.ballots import Poll, read_poll
from services.coordinator_agent.vote_models import Outcome, VoteAnswer, VoteInputs
from services.coordinator_agent.voting import vote

NAMES = string.ascii_uppercase[:5]
METHODS: list[dict[str, Any]] = [
    {"method": "weighted"},
    {"method": "weighted", "majority": "plurality"},
    {"method": "borda"},
    {"method": "condorcet"},
    {"method": "condorcet", "fallback": "copeland"},
    {"method": "condorcet", "fallback": "schulze"},
    {"method": "condorcet", "fallback": "borda"},
    {"method": "quorum", "quorum": {"fraction": "1/2"}, "threshold": "1/3"},
]
methods = pytest.mark.parametrize("options", METHODS, ids=lambda o: "-".join(map(str, o.values())))


@st.composite
def rankings(draw: st.DrawFn) -> list[list[str]]:
    """A weak order of some of the alternatives: cut a permutation into groups and drop a tail."""
    order = draw(st.permutations(NAMES))
    kept = order[: draw(st.integers(0, len(order)))]
    groups: list[list[str]] = []
    for name in kept:
        if groups and draw(st.booleans()):
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


weights = st.sampled_from([0.1, 0.2, 0.3, 1, 1.5, 2, 7])
ballots = st.fixed_dictionaries({"ranking": rankings(), "weight": weights})
some_ballots = st.lists(ballots, min_size=1, max_size=9)
complete = st.permutations(NAMES).map(lambda order: {"ranking": [[n] for n in order]})


def held(cast: list[dict[str, Any]], options: dict[str, Any]) -> VoteAnswer:
    return vote(VoteInputs.model_validate({"ballots": cast, "alternatives": list(NAMES), **options}))


def poll(cast: list[dict[str, Any]]) -> Poll:
    return read_poll(VoteInputs.model_validate({"ballots": cast, "method": "borda", "alternatives": list(NAMES)}))


def counted(answer: VoteAnswer) -> dict[str, Any]:
    lines = [(t.alternative, t.score, t.first_choices) for t in answer.tally]
    return {"outcome": answer.outcome, "winner": answer.winner, "tied": answer.tied, "lines": lines}


@methods
@given(data=st.data(), cast=some_ballots)
def test_anonymity_who_votes_and_when_changes_nothing(
    options: dict[str, Any], data: st.DataObject, cast: list[dict[str, Any]]
) -> None:
    shuffled = data.draw(st.permutations(cast))
    named = [{"voter": f"v{i}", **ballot} for i, ballot in enumerate(shuffled)]
    assert counted(held(named, options)) == counted(held(cast, options))


@methods
@given(order=st.permutations(NAMES), cast=some_ballots)
def test_neutrality_names_of_alternatives_change_nothing(
    options: dict[str, Any], order: list[str], cast: list[dict[str, Any]]
) -> None:
    renamed = dict(zip(NAMES, order, strict=True))
    other = [{**b, "ranking": [[renamed[n] for n in group] for group in b["ranking"]]} for b in cast]
    before, after = held(cast, options), held(other, options)
    assert after.outcome is before.outcome
    assert after.winner == (renamed[before.winner] if before.winner else None)
    assert set(after.tied) == {renamed[name] for name in before.tied}
    assert {r.alternative: r.rank for r in after.ranking} == {renamed[r.alternative]: r.rank for r in before.ranking}


@methods
@given(cast=some_ballots)
def test_a_winner_comes_with_decided_and_stands_first(options: dict[str, Any], cast: list[dict[str, Any]]) -> None:
    answer = held(cast, options)
    assert (answer.winner is not None) == (answer.outcome is Outcome.DECIDED)
    assert (answer.tied != []) == (answer.outcome is Outcome.TIE)
    if answer.winner:
        assert [r.alternative for r in answer.ranking if r.rank == 1] == [answer.winner]
    assert answer.turnout.cast == answer.turnout.valid + answer.turnout.abstained == len(cast)
    heard = {d.voter for d in answer.dissent} | {v for t in answer.tally for v in t.supporters} | {*answer.abstained}
    assert heard == {f"#{i}" for i in range(1, len(cast) + 1)}


@methods
@given(cast=st.lists(complete, min_size=1, max_size=7), best=st.sampled_from(NAMES))
def test_what_everyone_prefers_wins(options: dict[str, Any], cast: list[dict[str, Any]], best: str) -> None:
    unanimous = [{"ranking": [[best], *(g for g in b["ranking"] if g != [best])]} for b in cast]
    answer = held(unanimous, options)
    assert answer.winner == best
    assert answer.dissent == []


@given(cast=some_ballots)
def test_borda_gives_out_every_point(cast: list[dict[str, Any]]) -> None:
    counted_poll = poll(cast)
    m = len(NAMES)
    points = tallies.borda(counted_poll.alternatives, counted_poll.votes)
    assert sum(points.values()) == counted_poll.total_weight * m * (m - 1) / 2


@given(cast=some_ballots)
def test_borda_is_the_sum_of_pairwise_wins_and_half_ties(cast: list[dict[str, Any]]) -> None:
    p = poll(cast)
    matrix = tallies.pairwise(p.alternatives, p.votes)
    expected = {
        a: sum((matrix[a][b] + (p.total_weight - matrix[a][b] - matrix[b][a]) / 2 for b in matrix[a]), Fraction(0))
        for a in matrix
    }
    assert tallies.borda(p.alternatives, p.votes) == expected


@given(cast=some_ballots)
def test_first_choices_give_out_every_vote(cast: list[dict[str, Any]]) -> None:
    p = poll(cast)
    assert sum(tallies.first_choices(p.alternatives, p.votes).values()) == p.total_weight


@given(cast=some_ballots)
def test_a_condorcet_winner_beats_every_other(cast: list[dict[str, Any]]) -> None:
    p = poll(cast)
    matrix = tallies.pairwise(p.alternatives, p.votes)
    beats_all = [
        a
        for a in NAMES
        if all(
            sum(v.weight for v in p.votes if above(v, a, b)) > sum(v.weight for v in p.votes if above(v, b, a))
            for b in NAMES
            if b != a
        )
    ]
    assert len(beats_all) <= 1
    assert tallies.condorcet_winner(matrix) == (beats_all[0] if beats_all else None)
    for fallback in ("copeland", "schulze", "borda"):
        answer = held(cast, {"method": "condorcet", "fallback": fallback})
        if beats_all:
            assert (answer.winner, answer.decided_by) == (beats_all[0], "condorcet")
        else:
            assert answer.decided_by != "condorcet"


def above(one: Any, a: str, b: str) -> bool:
    last = len(NAMES) + 1
    return (one.rank_of(a) or last) < (one.rank_of(b) or last)


@given(cast=st.lists(complete, min_size=1, max_size=9))
def test_an_absolute_majority_winner_is_the_condorcet_winner(cast: list[dict[str, Any]]) -> None:
    majority = held(cast, {"method": "majority"})
    if majority.winner:
        assert held(cast, {"method": "condorcet"}).winner == majority.winner


@given(cast=some_ballots)
def test_schulze_leads_with_his_potential_winners(cast: list[dict[str, Any]]) -> None:
    matrix = tallies.pairwise(poll(cast).alternatives, poll(cast).votes)
    strength = {(a, b): strongest(matrix, a, b) for a, b in itertools.permutations(matrix, 2)}
    potential = {a for a in matrix if all(strength[a, b] >= strength[b, a] for b in matrix if b != a)}
    scores = tallies.schulze(matrix)
    assert {a for a in scores if scores[a] == max(scores.values())} == potential
    for (a, b), s in strength.items():
        if s > strength[b, a]:
            assert scores[a] > scores[b]


def strongest(matrix: tallies.Matrix, a: str, b: str) -> Fraction:
    """By definition: the best weakest link over every simple path."""
    between = [n for n in matrix if n not in (a, b)]
    best = Fraction(0)
    for length in range(len(between) + 1):
        for middle in itertools.permutations(between, length):
            path = [a, *middle, b]
            links = [matrix[x][y] if matrix[x][y] > matrix[y][x] else Fraction(0) for x, y in itertools.pairwise(path)]
            best = max(best, min(links))
    return best


@given(cast=some_ballots, data=st.data())
def test_the_borda_winner_stays_when_a_voter_raises_it(cast: list[dict[str, Any]], data: st.DataObject) -> None:
    winner = held(cast, {"method": "borda"}).winner
    if winner is None:
        return
    i = data.draw(st.integers(0, len(cast) - 1))
    raised = [[winner], *([n for n in group if n != winner] for group in cast[i]["ranking"])]
    changed = [*cast[:i], {**cast[i], "ranking": [g for g in raised if g]}, *cast[i + 1 :]]
    assert held(changed, {"method": "borda"}).winner == winner
