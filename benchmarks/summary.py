"""Many rounds of one workload as one row of figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.rounds import Round, Workload


@dataclass(frozen=True, slots=True)
class Range:
    """A median with the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Summary:
    """``steps_per_second`` over the rounds; the percentiles of all latencies (ms) of all rounds together;
    ``cpu_per_1000`` (seconds for 1,000 steps) and ``memory_mb`` by process, and ``per_step``: medians over the
    rounds. ``completion``: for starts through REST, executions completed a second until the last had."""

    workload: Workload
    rounds: int
    steps_per_second: Range
    p50: float
    p95: float
    p99: float
    cpu_per_1000: Mapping[str, float]
    per_step: Mapping[str, float]
    memory_mb: Mapping[str, Mapping[str, float]]
    completion: Range | None = None
    refused: int = 0


def summarise(workload: Workload, rounds: Sequence[Round]) -> Summary:
    """
    Raises:
        ValueError: there is no round.
    """
    if not rounds:
        raise ValueError(f"workload {workload.name} has no round to summarise")
    latencies = sorted(latency for one in rounds for latency in one.latencies_ms)
    figures = [one.figures for one in rounds]
    return Summary(
        workload=workload,
        rounds=len(rounds),
        steps_per_second=spread([one.steps_per_second for one in rounds]),
        p50=percentile(latencies, 50),
        p95=percentile(latencies, 95),
        p99=percentile(latencies, 99),
        cpu_per_1000={
            name: median(one.figures["cpu_seconds"].get(name, 0.0) * 1000 / one.steps for one in rounds)
            for name in _names(figures, "cpu_seconds")
        },
        per_step={
            name: median(one[f"{name}_per_step"] for one in figures)
            for name in ("messages", "message_bytes", "store_calls")
        },
        memory_mb={
            name: {
                kind: median(one["memory_mb"][name][kind] for one in figures if name in one["memory_mb"])
                for kind in ("rss", "uss", "peak_rss")
            }
            for name in _names(figures, "memory_mb")
        },
        completion=_completion(rounds),
        refused=sum(one.get("refused", 0) for one in figures),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of the ordered values lie, between two of them in proportion.

    Raises:
        ValueError: there are none.
    """
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Sequence[float]) -> Range:
    return Range(median(values), min(values), max(values))


def _completion(rounds: Sequence[Round]) -> Range | None:
    """For starts through REST: executions completed a second, from the first request to the last end."""
    key = "seconds_until_all_completed"
    rates = [one.steps / one.figures[key] for one in rounds if key in one.figures]
    return spread(rates) if rates else None


def _names(figures: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    return list(dict.fromkeys(name for one in figures for name in one[kind]))
