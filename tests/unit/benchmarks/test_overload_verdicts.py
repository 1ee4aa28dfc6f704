"""The verdicts of the overload and soak benchmarks: a good run passes, and each fault is found by its name."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.overload import Limits, judged
from benchmarks.samples import Sample
from benchmarks.soak import good, growths, warm_up

LIMITS = Limits(memory_mb=600, latency_factor=3, recovery_seconds=5)


def overload_run() -> dict[str, Any]:
    """What a good run tells."""
    return {
        "rest": {
            "statuses": {"202": 100, "503": 900},
            "errors": {},
            "without_retry_after": 0,
            "retry_after": {"1": 100, "9": 800},
        },
        "processes_ended": [],
        "peaks_mb": {"orchestrator": 300.0, "edge": 200.0, "broker": 900.0, "store": 900.0},
        "ended_as": {"completed": 150},
        "never_ended": [],
        "queues_at_the_end": {"dead-letters": 0},
        "latency_bound": 4.0,
        "latency": {"p50": 1.0, "p99": 2.0, "most": 3.0},
        "seconds_until_accepted_again": 1.0,
        "seconds_to_end_all": 20.0,
        "one_alone_before": 0.02,
        "one_alone_after": 0.03,
    }


def failed(told: dict[str, Any]) -> list[str]:
    return [check.name for check in judged(told, LIMITS) if not check.good]


def test_a_good_overload_run_passes() -> None:
    assert failed(overload_run()) == []


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda told: told["processes_ended"].append("edge"), "every process lives"),
        (lambda told: told["peaks_mb"].update(edge=601.0), "memory of each service at most 600 MB"),
        (lambda told: told["rest"]["statuses"].update({"500": 1}), "answers are 202, 429 or 503 only"),
        (lambda told: told["rest"].update(statuses={"202": 100}), "some were turned away"),
        (lambda told: told["rest"].update(without_retry_after=1), "who is turned away is told when to come back"),
        (lambda told: told["ended_as"].update(running=1), "all that was accepted completed"),
        (lambda told: told["ended_as"].update(missing=1), "all that was accepted completed"),
        (lambda told: told["ended_as"].update(failed=1), "all that was accepted completed"),
        (lambda told: told["never_ended"].append("exec-1"), "all that was accepted completed"),
        (lambda told: told["queues_at_the_end"].update({"dead-letters": 1}), "no dead letters"),
        (lambda told: told["latency"].update(p99=4.1), "p99 from asked for by REST to completed at most 4.0 s"),
        (lambda told: told.update(latency={}), "p99 from asked for by REST to completed at most 4.0 s"),
        (
            lambda told: told.update(seconds_until_accepted_again=6.0),
            "accepted again within 5 s of the end of all work",
        ),
        (lambda told: told.update(one_alone_after=0.2), "one alone takes about as long as before"),
    ],
)
def test_each_fault_of_an_overload_run_is_found(spoil: Callable[[dict[str, Any]], None], name: str) -> None:
    told = overload_run()
    spoil(told)
    assert failed(told) == [name]


# ---- soak


SECONDS = 1_000.0
RATE = 200.0


def sample(at: float, grows: str = "", by: float = 0.0) -> Sample:
    """One of a steady run; ``grows`` is what grows ``by`` so much a second."""
    more = by * at

    def value(name: str, usual: float) -> float:
        return usual + (more if name == grows else 0.0)

    names = ("orchestrator", "edge", "broker")
    return Sample(
        at,
        {name: value(f"{name}: rss", 100.0) for name in names},
        {name: value(f"{name}: uss", 80.0) for name in names},
        {name: int(value(f"{name}: handles", 20.0)) for name in names},
        {name: 0.3 * at + (by * at * at / 2 if grows == f"{name}: cores" else 0.0) for name in names},
        {"orchestrator.starts": int(value("queue", 2.0))},
    )


def faults(grows: str = "", by: float = 0.0, *, seconds: float = SECONDS) -> list[str]:
    samples = [sample(float(at), grows, by) for at in range(int(seconds))]
    steps = [(float(at), 0.02 + (by * at if grows == "latency" else 0.0)) for at in range(int(seconds))]
    return [one.what for one in growths(samples, steps, seconds, RATE) if not one.good]


def test_a_steady_run_passes() -> None:
    assert faults() == []


@pytest.mark.parametrize(
    ("grows", "by", "named"),
    [
        ("orchestrator: rss", 0.05, "orchestrator: rss MB"),
        ("edge: uss", 0.05, "edge: uss MB"),
        ("edge: handles", 0.02, "edge: handles"),
        ("edge: cores", 0.0005, "edge: cores in use"),
        ("queue", 0.2, "messages waiting in orchestrator.starts"),
        ("latency", 0.00002, "ms a step, median"),
    ],
)
def test_what_grows_is_named(grows: str, by: float, named: str) -> None:
    assert faults(grows, by) == [named]


def test_the_servers_are_not_judged_for_what_they_keep() -> None:
    assert faults("broker: rss", 1.0) == []


def test_a_run_that_is_too_short_does_not_judge_the_cache_that_fills() -> None:
    assert warm_up(RATE, 60.0) == 30.0
    assert faults("orchestrator: rss", 1.0, seconds=60.0) == []
    assert faults("edge: rss", 1.0, seconds=60.0) == ["edge: rss MB"]


def test_a_soak_is_good_only_if_everything_completed() -> None:
    told: dict[str, Any] = {"never_ended": [], "processes_ended": [], "outcomes": {"completed": 5}, "growth": []}
    assert good(told)
    assert not good({**told, "never_ended": ["exec-1"]})
    assert not good({**told, "outcomes": {"completed": 5, "execution.failed.v1": 1}})
    assert not good({**told, "processes_ended": ["edge"]})
    assert not good({**told, "growth": [{"good": False}]})
