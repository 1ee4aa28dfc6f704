"""Figures of many rounds: medians, ranges, and ratios of rounds that ran side by side."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.rounds import Round

# workload -> contestant -> number of the round -> what it did
Rounds = dict[str, dict[str, dict[int, Round]]]
PERCENTILES = (50, 95, 99)


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of them do not exceed.

    Raises:
        ValueError: there is no value.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no percentile of nothing")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Median and range, with the values in the order of their rounds."""
    found = list(values)
    return {"median": statistics.median(found), "min": min(found), "max": max(found), "values": found}


def speed(done: Round) -> float:
    return done.steps_per_second


def latency(done: Round) -> float:
    return percentile(done.latencies_ms, 50)


def ratios(
    mine: Mapping[int, Round], others: Mapping[int, Round], figure: Callable[[Round], float]
) -> dict[str, Any] | None:
    """Mine by theirs, round by round: what slowed the machine down slowed both. None if they share no round."""
    shared = sorted(mine.keys() & others.keys())
    return spread(figure(mine[number]) / figure(others[number]) for number in shared) if shared else None


def comparison_of(rounds: Rounds, workloads: Sequence[str], baselines: Sequence[str]) -> dict[str, Any]:
    """workload -> contestant -> its figures, in the order in which contestants first finished a round."""
    return {
        workload: {
            contestant: _figures(done, {name: of[name] for name in baselines if name in of and name != contestant})
            for contestant, done in of.items()
        }
        for workload in workloads
        if (of := rounds.get(workload))
    }


def _figures(done: Mapping[int, Round], baselines: Mapping[str, Mapping[int, Round]]) -> dict[str, Any]:
    in_order = [done[number] for number in sorted(done)]
    found: dict[str, Any] = {
        "rounds": sorted(done),
        "steps_per_second": spread(speed(one) for one in in_order),
        "latency_ms": {
            f"p{percent}": spread(percentile(one.latencies_ms, percent) for one in in_order) for percent in PERCENTILES
        },
        "ratios": {},
        "figures": [dict(one.figures) for one in in_order],
    }
    for name, others in baselines.items():
        by_speed, by_latency = ratios(done, others, speed), ratios(done, others, latency)
        if by_speed and by_latency:
            found["ratios"][name] = {"steps_per_second": by_speed, "latency_p50": by_latency}
    return found
