"""Rounds in order, failures told, and the command's arguments."""

import pytest

from benchmarks.__main__ import main
from benchmarks.flight import RoundFailed
from benchmarks.rounds import CHAIN10, FAN50, WIDE, Round, Servers, Workload
from benchmarks.running import run_one
from benchmarks.workloads import warm_up


class Pretender:
    """A contestant that notes what it is told, and fails the workloads ``bad``."""

    name = "pretender"

    def __init__(self, *bad: str, starts: bool = True) -> None:
        self.told: list[str] = []
        self._bad = bad
        self._starts = starts

    def set_up(self) -> None:
        self.told.append("set up")

    def start(self, servers: Servers) -> None:
        self.told.append("start")
        if not self._starts:
            raise RoundFailed("not ready")

    def run(self, workload: Workload) -> Round:
        self.told.append(f"{workload.name} {workload.workflows}")
        if workload.name in self._bad:
            raise RoundFailed("one execution failed")
        memory = {"rss": 1.0, "uss": 1.0, "peak_rss": 1.0}
        return Round(workload.name, workload.total_steps, 1.0, [1.0], {"memory_mb": {"a": memory}})

    def stop(self) -> None:
        self.told.append("stop")

    def about(self) -> dict[str, str]:
        return {}


def short(workload: Workload) -> str:
    return f"{workload.name} {warm_up(workload).workflows}"


def full(workload: Workload) -> str:
    return f"{workload.name} {workload.workflows}"


def test_each_workload_is_warmed_up_and_then_counted() -> None:
    pretender = Pretender()
    said: list[str] = []
    outcome = run_one(pretender, [CHAIN10, FAN50], 2, Servers(), said.append)
    counted = [short(CHAIN10), *[full(CHAIN10)] * 2, short(FAN50), *[full(FAN50)] * 2]
    assert pretender.told == ["start", *counted, "stop"]
    assert {workload: len(rounds) for workload, rounds in outcome.rounds.items()} == {CHAIN10: 2, FAN50: 2}
    assert len(said) == 5


def test_after_a_failure_the_next_workload_begins_anew() -> None:
    pretender = Pretender("fan50")
    outcome = run_one(pretender, [CHAIN10, FAN50, WIDE], 1, Servers(), lambda _: None)
    first, last = [short(CHAIN10), full(CHAIN10)], [short(WIDE), full(WIDE)]
    assert pretender.told == ["start", *first, short(FAN50), "stop", "start", *last, "stop"]
    assert outcome.failures == ["one execution failed"]
    assert set(outcome.rounds) == {CHAIN10, WIDE}


def test_what_cannot_be_started_is_not_tried_again_for_every_workload() -> None:
    pretender = Pretender(starts=False)
    outcome = run_one(pretender, [CHAIN10, FAN50], 1, Servers(), lambda _: None)
    assert (pretender.told, outcome.failures) == (["start", "stop"], ["not ready"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chain11"], "no workload chain11; there are: chain10, fan50"),
        (["chain10", "--bus", "pigeon"], "invalid choice: 'pigeon'"),
        (["--rounds", "0"], "0 is not 1 or more"),
    ],
)
def test_what_the_command_does_not_know_is_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
