"""Contestants in turn: the order, what a failure costs, and what is written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import JSON_FILE, MARKDOWN_FILE, UnknownContestant, chosen_contestants, compare, scaled
from benchmarks.rounds import Round, Servers, Workload

CHAIN = Workload("chain", "chain", steps=10, workflows=20, in_flight=5)
FAN = Workload("fan", "fan", steps=5, workflows=4, in_flight=2)


class Scripted:
    """Takes ``seconds`` a round; does what ``failing`` says where it says so. Notes everything in ``log``."""

    def __init__(
        self, name: str, log: list[str], seconds: float = 1.0, failing: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        self._seconds = seconds
        self._failing = dict(failing or {})
        self.running = False

    def _do(self, what: str) -> None:
        if what in self._failing:
            raise RuntimeError(self._failing[what])

    def set_up(self) -> None:
        self._do("set_up")

    def start(self, servers: Servers) -> None:
        assert not self.running
        self.running = True
        self._log.append(f"{self.name} start")
        self._do("start")

    def run(self, workload: Workload) -> Round:
        assert self.running
        self._log.append(f"{self.name} {workload.name} {workload.workflows}")
        self._do(workload.name)
        seconds = self._seconds * workload.workflows
        return Round(workload.name, workload.total_steps, seconds, [self._seconds] * workload.workflows)

    def stop(self) -> None:
        self.running = False
        self._log.append(f"{self.name} stop")

    def about(self) -> dict[str, str]:
        return {"version": f"{self.name} 1"}


def run(tmp_path: Path, *contestants: Scripted, rounds: int = 2, **options: Any) -> dict[str, Any]:
    said: list[str] = []
    workloads = [CHAIN, FAN]
    compare(contestants, workloads, rounds, Servers(), tmp_path, machine={"cores": 2}, say=said.append, **options)
    assert said
    report: dict[str, Any] = json.loads((tmp_path / JSON_FILE).read_text(encoding="utf-8"))
    return report


def test_contestants_take_turns_and_one_runs_at_a_time(tmp_path: Path) -> None:
    log: list[str] = []
    run(tmp_path, Scripted("a", log), Scripted("b", log))
    turns = [
        [f"{name} start", f"{name} chain 2", f"{name} chain 20", f"{name} fan 4", f"{name} stop"] for name in ("a", "b")
    ]
    assert log == [*turns[0], *turns[1], *turns[0], *turns[1]]


def test_ratios_are_of_the_same_round(tmp_path: Path) -> None:
    report = run(tmp_path, Scripted("base", [], 2.0), Scripted("fast", [], 0.5), rounds=3, baselines=["base", "absent"])
    fast = report["results"]["chain"]["fast"]
    assert fast["rounds"] == [1, 2, 3]
    assert fast["ratios"] == {
        "base": {
            "steps_per_second": {"median": 4.0, "min": 4.0, "max": 4.0, "values": [4.0, 4.0, 4.0]},
            "latency_p50": {"median": 0.25, "min": 0.25, "max": 0.25, "values": [0.25, 0.25, 0.25]},
        }
    }
    assert report["results"]["chain"]["base"]["ratios"] == {}
    assert report["rounds"] == {"done": 3, "planned": 3, "enough": False}
    assert report["contestants"] == {"base": {"version": "base 1"}, "fast": {"version": "fast 1"}}
    text = (tmp_path / MARKDOWN_FILE).read_text(encoding="utf-8")
    assert "| fast | 4.00 (4.00 – 4.00) | 0.25 (0.25 – 0.25) |" in text
    assert "too few rounds" in text
    assert "cores: 2" in text


@pytest.mark.parametrize("where", ["set_up", "start"])
def test_who_cannot_begin_is_reported_once_and_the_rest_goes_on(tmp_path: Path, where: str) -> None:
    log: list[str] = []
    broken = Scripted("broken", log, failing={where: "no such package"})
    report = run(tmp_path, broken, Scripted("whole", log))
    (problem,) = report["problems"]
    assert (problem["contestant"], problem["doing"]) == ("broken", where.replace("_", " "))
    assert problem["reason"] == "RuntimeError: no such package"
    assert list(report["results"]["fan"]) == ["whole"]
    assert report["results"]["fan"]["whole"]["rounds"] == [1, 2]
    assert not broken.running
    assert "no such package" in (tmp_path / MARKDOWN_FILE).read_text(encoding="utf-8")


def test_a_round_that_fails_has_no_figures_and_the_next_workload_starts_anew(tmp_path: Path) -> None:
    log: list[str] = []
    flawed = Scripted("flawed", log, failing={"fan": "one step was lost"})
    report = run(tmp_path, flawed, rounds=1)
    assert log == ["flawed start", "flawed chain 2", "flawed chain 20", "flawed fan 4", "flawed stop"]
    assert list(report["results"]) == ["chain"]
    assert [(one["round"], one["doing"]) for one in report["problems"]] == [(1, "fan")]

    log.clear()
    compare([flawed], [CHAIN, FAN, CHAIN], 1, Servers(), tmp_path, machine={}, say=log.append)
    assert [line for line in log if line.startswith("flawed")][4:] == [
        "flawed stop",
        "flawed start",
        "flawed chain 2",
        "flawed chain 20",
        "flawed stop",
    ]


def test_an_interrupt_stops_who_runs(tmp_path: Path) -> None:
    contestant = Scripted("a", [])

    def interrupted(workload: Workload) -> Round:
        raise KeyboardInterrupt

    contestant.run = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, contestant)
    assert not contestant.running


def test_contestants_are_chosen_by_name_in_their_own_order() -> None:
    a, b, c = (Scripted(name, []) for name in "abc")
    assert chosen_contestants([a, b, c], ["c", "a"]) == [a, c]
    assert chosen_contestants([a, b, c], []) == [a, b, c]
    with pytest.raises(UnknownContestant, match="no contestant d; there are a, b, c"):
        chosen_contestants([a, b, c], ["a", "d"])


def test_a_scaled_workload_keeps_its_shape() -> None:
    small = scaled(CHAIN, 0.1)
    assert (small.workflows, small.in_flight, small.steps) == (2, 2, 10)
    assert scaled(FAN, 0.001).workflows == 1
    assert scaled(FAN, 1.0) == FAN


def test_the_report_is_there_after_each_round(tmp_path: Path) -> None:
    seen = []

    class Looking(Scripted):
        def start(self, servers: Servers) -> None:
            super().start(servers)
            path = tmp_path / JSON_FILE
            seen.append(json.loads(path.read_text(encoding="utf-8"))["rounds"]["done"] if path.exists() else 0)

    run(tmp_path, Looking("a", []), rounds=3)
    assert seen == [0, 1, 2]
