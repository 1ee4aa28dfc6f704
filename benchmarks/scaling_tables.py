"""The tables of a run of ``benchmarks.scaling_out``, as a page of Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.scaling_costs import GROUPS, Costs, costs_of
from benchmarks.scaling_estimate import estimate_of, markdown
from benchmarks.summary import Range, spread

COUNTED = (
    "messages",
    "message bytes",
    "commits",
    "entries",
    "header writes",
    "audit records",
    "over the broker's sockets",
    "over the store's sockets",
    "written by the broker",
    "kept: log",
    "kept: headers",
    "kept: audit",
    "kept: entries, uncompressed",
    "store's log",
)


def page(told: Mapping[str, Any]) -> str:
    """What was measured on what, both tables, and the estimate."""
    estimate = estimate_of(told)
    about = [f"- {name}: {value}" for name, value in told["about"].items()]
    parts = [
        "# What a step costs, with one and with two orchestrators and hosts",
        "`python -m benchmarks.scaling_out`. Medians over the rounds, with the least and the most.",
        "\n".join(about),
        "## In short\n\n" + short_processor_table(told) + "\n\n" + short_counts_table(told),
        "## Milliseconds of processor time a step\n\n" + processor_table(told),
        "## Counts and bytes a step\n\n" + counts_table(told),
        "## Cores in use while nothing runs\n\n" + idle_table(told),
        "## The estimate\n\n" + estimate.table(),
        "## Where one core is full\n\n" + estimate.ceilings(),
    ]
    return "\n\n".join(parts) + "\n"


def processor_table(told: Mapping[str, Any]) -> str:
    """A row for each layout and workload; the last column is the busiest orchestrator's share of the entries."""
    header = ["store, orchestrators × hosts", "workload", "rounds", *GROUPS, "all but client", "busiest"]
    rows = [
        [
            layout,
            costs.workload,
            str(costs.rounds),
            *(_range(costs.cpu[name], 3) for name in GROUPS),
            _range(costs.cpu["all"], 2),
            f"{costs.busiest.median:.0%} ({costs.busiest.least:.0%} – {costs.busiest.most:.0%})",
        ]
        for layout, costs in _all(told)
    ]
    return _table(header, rows)


def short_processor_table(told: Mapping[str, Any]) -> str:
    """Medians of PostgreSQL's layouts, for a page that is read."""
    header = ["orchestrators × hosts", "workload", *GROUPS[:-2], "all (least – most)"]
    rows = [
        [
            layout.partition(", ")[2],
            costs.workload,
            *(f"{costs.cpu[name].median:.3f}" for name in GROUPS[:-2]),
            _range(costs.cpu["all"], 2),
        ]
        for layout, costs in _all(told)
        if layout.startswith("postgresql")
    ]
    return _table(header, rows)


def short_counts_table(told: Mapping[str, Any]) -> str:
    """Medians of one orchestrator and one host, both stores."""
    columns = [(layout, costs) for layout, costs in _all(told) if "1 × 1" in layout]
    header = ["a step", *(f"{costs.workload}, {layout.partition(',')[0]}" for layout, costs in columns)]
    rows = [[name, *(_median(costs, name) for _, costs in columns)] for name in COUNTED]
    return markdown(header, rows)


def counts_table(told: Mapping[str, Any]) -> str:
    header = ["store, orchestrators × hosts", "workload", *COUNTED]
    rows = [[layout, costs.workload, *(_counted(costs, name) for name in COUNTED)] for layout, costs in _all(told)]
    return _table(header, rows)


def idle_table(told: Mapping[str, Any]) -> str:
    roles = list(dict.fromkeys(role for layout in told["layouts"] for one in layout["idle"] for role in one))
    rows = [
        [_name(layout), *(_idle([one[role] for one in layout["idle"] if role in one]) for role in roles)]
        for layout in told["layouts"]
    ]
    return _table(["store, orchestrators × hosts", *roles], rows)


def _all(told: Mapping[str, Any]) -> Iterable[tuple[str, Costs]]:
    return ((_name(layout), costs) for layout in told["layouts"] for costs in costs_of(layout).values())


def _name(layout: Mapping[str, Any]) -> str:
    return f"{layout['store']}, {layout['orchestrators']} × {layout['hosts']}"


def _median(costs: Costs, name: str) -> str:
    found = costs.counts.get(name)
    return "–" if found is None else f"{found.median:,.{3 if _is_count(name) else 0}f}"


def _counted(costs: Costs, name: str) -> str:
    found = costs.counts.get(name)
    return "–" if found is None else _range(found, 3 if _is_count(name) else 0)


def _is_count(name: str) -> bool:
    return name in ("messages", "commits", "entries", "header writes", "audit records")


def _idle(values: Sequence[float]) -> str:
    return f"{spread(values).median:.3f}" if values else ""


def _range(value: Range, digits: int) -> str:
    return f"{value.median:,.{digits}f} ({value.least:,.{digits}f} – {value.most:,.{digits}f})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
