"""From rounds to figures, and from figures to what is written down."""

import json
from pathlib import Path

import pytest

from benchmarks.accounts import figures_of
from benchmarks.results import as_json, write
from benchmarks.rounds import CHAIN10, Round, Workload
from benchmarks.running import Outcome
from benchmarks.summary import percentile, summarise
from benchmarks.workloads import GROW, PAYLOAD, START


def counted(**messages: int) -> dict[str, dict[str, int]]:
    return {
        "messages": messages,
        "message_bytes": {name: 10 * count for name, count in messages.items()},
        "store_calls": {"append": 2 * sum(messages.values())},
        "store_items": {},
    }


def figures(cpu: float = 2.0) -> dict[str, object]:
    memory = {"orchestrator": {"rss": 80.0, "uss": 60.0, "peak_rss": 90.0}}
    return figures_of(1_000, {"a": 1.0}, {"a": 1.0 + cpu}, [counted(run=1)], [counted(run=501, results=100)], memory)


def rounds_of(workload: Workload, *seconds: float) -> list[Round]:
    more = {"seconds_until_all_completed": 2.0, "refused": 3} if workload.shape == "start" else {}
    return [Round(workload.name, 1_000, one, [10.0, 20.0, 30.0], {**figures(one), **more}) for one in seconds]


def test_figures_are_what_was_added_during_the_round() -> None:
    told = figures()
    assert told["cpu_seconds"] == {"a": 2.0}
    assert told["messages"] == {"results": 100, "run": 500}
    assert told["messages_per_step"] == 0.6
    assert told["message_bytes_per_step"] == 6.0
    assert told["store_calls_per_step"] == 1.2


def test_a_summary_has_medians_over_rounds_and_percentiles_over_all() -> None:
    summary = summarise(CHAIN10, rounds_of(CHAIN10, 1.0, 4.0, 2.0))
    rate = summary.steps_per_second
    assert (rate.least, rate.median, rate.most) == (250.0, 500.0, 1_000.0)
    assert summary.cpu_per_1000 == {"a": 2.0}
    assert summary.per_step["messages"] == 0.6
    assert (summary.p50, summary.p99) == (20.0, 30.0)
    assert summary.memory_mb["orchestrator"]["uss"] == 60.0
    assert summary.completion is None


def test_starts_are_told_with_what_completed_and_what_was_refused() -> None:
    summary = summarise(START, rounds_of(START, 1.0, 1.0))
    assert summary.completion is not None
    assert (summary.steps_per_second.median, summary.completion.median, summary.refused) == (1_000.0, 500.0, 6)


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 2.5), (100, 4.0), (75, 3.25)])
def test_percentiles(percent: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == value


def test_nothing_has_no_figures() -> None:
    with pytest.raises(ValueError, match="chain10 has no round"):
        summarise(CHAIN10, [])
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 50)


def test_a_run_is_written_as_json_page_and_plots(tmp_path: Path) -> None:
    workloads = [CHAIN10, START, *GROW[:2], *PAYLOAD[:2]]
    outcomes = [
        Outcome("ours a", {workload: rounds_of(workload, 1.0, 2.0) for workload in workloads}),
        Outcome("ours b", {CHAIN10: rounds_of(CHAIN10, 1.0)}, failures=["deep: it | broke"]),
    ]
    write({"commit": "abc", "machine": {"cores": 2}}, outcomes, tmp_path)
    told = json.loads((tmp_path / "results.json").read_text())
    assert told == json.loads(json.dumps(as_json({"commit": "abc", "machine": {"cores": 2}}, outcomes)))
    assert [len(one["workloads"]) for one in told["contestants"]] == [6, 1]
    assert told["contestants"][0]["workloads"][0]["measured"][1]["seconds"] == 2.0
    page = (tmp_path / "results.md").read_text()
    assert "| machine: cores | 2 |" in page
    assert "deep: it | broke" in page
    assert "| chain10 | 2 | 750.0 (500.0 - 1,000.0) | 20.0 |" in page
    assert "| 50 | 1.333 | 1.00 |" in page
    plots = {path.name for path in tmp_path.glob("*.png") if path.read_bytes().startswith(b"\x89PNG")}
    assert plots == {"throughput.png", "latency.png", "grow.png", "payload.png"}
    assert all(f"]({name})" in page for name in plots)


def test_a_plot_without_figures_is_not_drawn(tmp_path: Path) -> None:
    write({}, [Outcome("ours", {CHAIN10: rounds_of(CHAIN10, 1.0)})], tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"throughput.png", "latency.png"}
