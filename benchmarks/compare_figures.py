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


def paced(done: Mapping[int, Round], paces: Mapping[int, Round], figure: Callable[[Round], float]) -> dict[int, float]:
    """A figure by round, in relation to what the pacemaker did right after it where there was one: a machine that
    others share is not as fast from one minute to the next."""
    return {
        number: figure(one) / figure(paces[number]) if number in paces else figure(one) for number, one in done.items()
    }


def ratios(mine: Mapping[int, float], others: Mapping[int, float]) -> dict[str, Any] | None:
    """Mine by theirs, round by round: what slowed the machine down slowed both. None if they share no round."""
    shared = sorted(mine.keys() & others.keys())
    return spread(mine[number] / others[number] for number in shared) if shared else None


def comparison_of(
    rounds: Rounds, workloads: Sequence[str], baselines: Sequence[str], paces: Rounds | None = None
) -> dict[str, Any]:
    """workload -> contestant -> its figures, in the order in which contestants first finished a round.

    ``paces`` are the pacemaker's rounds, under the name of the contestant that each of them followed.
    """
    return {
        workload: {
            contestant: _figures(contestant, of, baselines, (paces or {}).get(workload, {})) for contestant in of
        }
        for workload in workloads
        if (of := rounds.get(workload))
    }


def _figures(
    contestant: str,
    of: Mapping[str, Mapping[int, Round]],
    baselines: Sequence[str],
    paces: Mapping[str, Mapping[int, Round]],
) -> dict[str, Any]:
    done = of[contestant]
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
    for name in baselines:
        if name == contestant or name not in of:
            continue
        by_speed, by_latency = (
            ratios(
                paced(done, paces.get(contestant, {}), figure),
                paced(of[name], paces.get(name, {}), figure),
            )
            for figure in (speed, latency)
        )
        if by_speed and by_latency:
            found["ratios"][name] = {"steps_per_second": by_speed, "latency_p50": by_latency}
    return found
