"""Results as a page of Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.running import Outcome
from benchmarks.summary import Range, Summary

MB = 1_000_000


def page(about: Mapping[str, Any], outcomes: Sequence[Outcome], plots: Sequence[str]) -> str:
    """The whole page: what was measured on what, then a section for each contestant."""
    parts = ["# Benchmark results", _about(about)]
    for outcome in outcomes:
        parts += [f"## {outcome.contestant}", *_sections(outcome.summaries())]
        parts += [f"**Failed:**\n\n```\n{failure}\n```" for failure in outcome.failures]
    if plots:
        parts += ["## Plots", *(f"![{name.removesuffix('.png')}]({name})" for name in plots)]
    return "\n\n".join(parts) + "\n"


def _about(about: Mapping[str, Any]) -> str:
    rows = []
    for group, values in about.items():
        told = values if isinstance(values, Mapping) else {"": values}
        rows += [[group if not name else f"{group}: {name}", _plain(value)] for name, value in told.items()]
    return _table(["what", "value"], rows)


def _sections(summaries: Sequence[Summary]) -> list[str]:
    steps = [one for one in summaries if one.workload.shape != "start"]
    starts = [one for one in summaries if one.workload.shape == "start"]
    sections = []
    if steps:
        sections += ["### Speed", _speed(steps)]
    if starts:
        sections += ["### Starts through REST", _starts(starts)]
    if summaries:
        sections += ["### Processor time: seconds for 1,000 steps", _cpu(summaries)]
        sections += ["### Memory, MB: own / resident / most resident", _memory(summaries)]
    grow = [one for one in summaries if one.workload.shape == "layered"]
    if grow:
        sections += ["### Time per step as the workflow grows", _grow(grow)]
    payload = [one for one in summaries if one.workload.name.startswith("payload-")]
    if payload:
        sections += ["### Payloads", _payload(payload)]
    return sections


def _speed(summaries: Iterable[Summary]) -> str:
    head = ["workload", "rounds", "steps/s (least - most)", "p50 ms", "p95 ms", "p99 ms"]
    head += ["messages/step", "bytes/step", "store operations/step"]
    rows = [
        [
            one.workload.name,
            str(one.rounds),
            _range(one.steps_per_second),
            *(f"{value:,.1f}" for value in (one.p50, one.p95, one.p99)),
            f"{one.per_step['messages']:.3f}",
            f"{one.per_step['message_bytes']:,.0f}",
            f"{one.per_step['store_calls']:.3f}",
        ]
        for one in summaries
    ]
    return _table(head, rows)


def _starts(summaries: Iterable[Summary]) -> str:
    head = ["workload", "rounds", "starts/s (least - most)", "p50 ms", "p95 ms", "p99 ms"]
    head += ["completed/s (least - most)", "told to come later"]
    rows = [
        [
            one.workload.name,
            str(one.rounds),
            _range(one.steps_per_second),
            *(f"{value:,.1f}" for value in (one.p50, one.p95, one.p99)),
            _range(one.completion) if one.completion else "",
            f"{one.refused:,}",
        ]
        for one in summaries
    ]
    return _table(head, rows)


def _cpu(summaries: Sequence[Summary]) -> str:
    names = _processes(one.cpu_per_1000 for one in summaries)
    rows = [
        [
            one.workload.name,
            *(f"{one.cpu_per_1000[name]:.3f}" if name in one.cpu_per_1000 else "" for name in names),
            f"{sum(one.cpu_per_1000.values()):.3f}",
        ]
        for one in summaries
    ]
    return _table(["workload", *names, "all"], rows)


def _memory(summaries: Sequence[Summary]) -> str:
    names = _processes(one.memory_mb for one in summaries)
    rows = []
    for one in summaries:
        cells = []
        for name in names:
            told = one.memory_mb.get(name)
            cells.append(f"{told['uss']:.0f} / {told['rss']:.0f} / {told['peak_rss']:.0f}" if told else "")
        rows.append([one.workload.name, *cells])
    return _table(["workload", *names], rows)


def _grow(summaries: Sequence[Summary]) -> str:
    first = 1000 / summaries[0].steps_per_second.median
    rows = []
    for one in summaries:
        per_step = 1000 / one.steps_per_second.median
        rows.append([str(one.workload.steps), f"{per_step:.3f}", f"{per_step / first:.2f}"])
    return _table(["steps", "ms per step", f"times that of {summaries[0].workload.steps}"], rows)


def _payload(summaries: Iterable[Summary]) -> str:
    rows = [
        [
            one.workload.name.removeprefix("payload-"),
            f"{one.steps_per_second.median:,.1f}",
            f"{one.steps_per_second.median * one.workload.payload / MB:.2f}",
            f"{one.p50:,.1f}",
        ]
        for one in summaries
    ]
    return _table(["payload", "steps/s", "MB/s", "p50 ms"], rows)


def _processes(told: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for one in told for name in one))


def _range(value: Range) -> str:
    return f"{value.median:,.1f} ({value.least:,.1f} - {value.most:,.1f})"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
