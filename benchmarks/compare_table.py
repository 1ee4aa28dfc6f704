"""A comparison as Markdown."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def as_markdown(report: Mapping[str, Any]) -> str:
    """The whole report: how it was taken, a table a workload, what failed, and each contestant's settings."""
    parts = ["# Comparison", *_taken(report)]
    for name, workload in report["workloads"].items():
        parts += [f"## {name}", _described(workload)]
        found = report["results"].get(name)
        if found:
            parts += [_results(found), _ratios(found, report["baselines"]), _cpu(found, workload)]
        else:
            parts.append("No contestant finished a round of it.")
    if report["problems"]:
        parts += ["## What failed", _problems(report["problems"])]
    parts.append("## Versions and settings")
    for name, about in report["contestants"].items():
        parts += [f"### {name}", _pairs(about)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _taken(report: Mapping[str, Any]) -> list[str]:
    rounds = report["rounds"]
    taken = (
        f"{rounds['done']} of {rounds['planned']} rounds, the contestants in turn on the same servers, one at a time. "
        "Figures are medians over the rounds, with the range behind them. A ratio is taken within each round: steps a "
        "second by those of the baseline (more is better), and for latency the median time of a workflow by that of "
        "the baseline (less is better)."
    )
    if report.get("pacemaker"):
        taken += (
            f" After each run the pacemaker, {report['pacemaker']}, ran the same workload; what is set in relation "
            "to one another is what each did in relation to the pacemaker's run beside it, so that a machine whose "
            "speed changes between two turns does not change a ratio."
        )
    warning = "" if rounds["enough"] else "**A quick look: too few rounds for figures to publish.**"
    return [taken, warning, _pairs(report["machine"])]


def _described(workload: Mapping[str, Any]) -> str:
    return (
        f"{workload['workflows']} workflows of {workload['steps']} steps ({workload['shape']}), "
        f"{workload['in_flight']} in flight, {workload['payload']} bytes echoed by each step."
    )


def _results(found: Mapping[str, Any]) -> str:
    rows = []
    for contestant, figures in found.items():
        latencies = [_range(values, ",.1f") for values in figures["latency_ms"].values()]
        rows.append([contestant, str(len(figures["rounds"])), _range(figures["steps_per_second"], ",.0f"), *latencies])
    return _table(["contestant", "rounds", "steps/s", "p50 ms", "p95 ms", "p99 ms"], rows)


def _ratios(found: Mapping[str, Any], baselines: Sequence[str]) -> str:
    there = [name for name in baselines if any(name in figures["ratios"] for figures in found.values())]
    if not there:
        return ""
    head = ["contestant", *(f"{what} / {name}" for name in there for what in ("steps/s", "latency"))]
    rows = []
    for contestant, figures in found.items():
        row = [contestant]
        for name in there:
            of = figures["ratios"].get(name)
            row += [_range(of[key], ".2f") if of else "" for key in ("steps_per_second", "latency_p50")]
        rows.append(row)
    return _table(head, rows)


def _cpu(found: Mapping[str, Any], workload: Mapping[str, Any]) -> str:
    steps = workload["steps"] * workload["workflows"]
    rows = []
    for contestant, figures in found.items():
        rounds = [one["cpu_seconds"] for one in figures["figures"] if "cpu_seconds" in one]
        names = list(dict.fromkeys(name for one in rounds for name in one))
        used = {name: statistics.median(one[name] for one in rounds if name in one) for name in names}
        each = ", ".join(f"{name} {seconds * 1000 / steps:.2f}" for name, seconds in used.items())
        if used:
            rows.append([contestant, f"{sum(used.values()) * 1000 / steps:.2f}", each])
    return _table(["contestant", "CPU ms a step", "by process"], rows) if rows else ""


def _problems(problems: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        [one["contestant"], str(one["round"] or ""), one["doing"], one["reason"].replace("\n", "<br>")]
        for one in problems
    ]
    return _table(["contestant", "round", "doing", "reason"], rows)


def _pairs(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items())


def _range(values: Mapping[str, Any], form: str) -> str:
    return f"{values['median']:{form}} ({values['min']:{form}} – {values['max']:{form}})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:" for _ in head[1:]], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
