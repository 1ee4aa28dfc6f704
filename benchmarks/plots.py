"""Results as pictures (PNG)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.running import Outcome
from benchmarks.summary import Summary


def draw(outcomes: Sequence[Outcome], folder: Path) -> list[str]:
    """Draw what there are figures for; returns the names of the files, which are in ``folder``."""
    import matplotlib

    matplotlib.use("Agg")  # no screen is needed
    told = {outcome.contestant: outcome.summaries() for outcome in outcomes}
    drawn = []
    for name, wanted, paint in (
        ("throughput.png", _fixed, _throughput),
        ("latency.png", _fixed, _latency),
        ("grow.png", _growing, _grow),
        ("payload.png", _paying, _payload),
    ):
        some = {contestant: [one for one in rows if wanted(one)] for contestant, rows in told.items()}
        some = {contestant: rows for contestant, rows in some.items() if rows}
        if some:
            _save(paint, some, folder / name)
            drawn.append(name)
    return drawn


Told = dict[str, list[Summary]]


def _fixed(one: Summary) -> bool:
    return not (_growing(one) or _paying(one))


def _growing(one: Summary) -> bool:
    return one.workload.shape == "layered"


def _paying(one: Summary) -> bool:
    return one.workload.name.startswith("payload-")


def _save(paint: Callable[[Any, Told], None], told: Told, path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 5), layout="constrained")
    paint(axes, told)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _throughput(axes: Any, told: Told) -> None:
    names = _workloads(told)
    width = 0.8 / len(told)
    for i, (contestant, rows) in enumerate(told.items()):
        rates = {one.workload.name: one.steps_per_second for one in rows}
        places = [names.index(name) + (i - (len(told) - 1) / 2) * width for name in rates]
        medians = [rate.median for rate in rates.values()]
        below = [rate.median - rate.least for rate in rates.values()]
        above = [rate.most - rate.median for rate in rates.values()]
        axes.bar(places, medians, width, yerr=[below, above], capsize=3, label=contestant)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("steps (start: starts) a second; bars: least to most")
    axes.set_title("Throughput")


def _latency(axes: Any, told: Told) -> None:
    names = _workloads(told)
    width = 0.8 / len(told)
    for i, (contestant, rows) in enumerate(told.items()):
        places = [names.index(one.workload.name) + (i - (len(told) - 1) / 2) * width for one in rows]
        colour = f"C{i}"
        axes.bar(places, [one.p50 for one in rows], width, color=colour, label=f"{contestant}: p50")
        axes.scatter(places, [one.p95 for one in rows], marker="_", color="black", zorder=3)
        axes.scatter(places, [one.p99 for one in rows], marker="^", s=18, color="black", zorder=3)
    axes.scatter([], [], marker="_", color="black", label="p95")
    axes.scatter([], [], marker="^", s=18, color="black", label="p99")
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("ms from start to end of a workflow (start: to the answer)")
    axes.set_title("Latency")


def _grow(axes: Any, told: Told) -> None:
    for contestant, rows in told.items():
        sizes = [one.workload.steps for one in rows]
        axes.plot(sizes, [1000 / one.steps_per_second.median for one in rows], marker="o", label=contestant)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("steps of the workflow")
    axes.set_ylabel("ms per step")
    axes.set_title("Time per step as the workflow grows")


def _payload(axes: Any, told: Told) -> None:
    for contestant, rows in told.items():
        sizes = [one.workload.payload for one in rows]
        axes.plot(sizes, [one.steps_per_second.median for one in rows], marker="o", label=contestant)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bytes of payload")
    axes.set_ylabel("steps a second")
    axes.set_title("Throughput by payload")


def _workloads(told: Told) -> list[str]:
    return list(dict.fromkeys(one.workload.name for rows in told.values() for one in rows))
