"""The schedule of a fault run: made by its seed, of every kind, never twice on one target at a time."""

from itertools import pairwise

import pytest

from benchmarks.faults.schedule import BOOT, LINK_KINDS, LOAD_KINDS, PROCESS_KINDS, Fault, schedule

PROCESSES = ["orchestrator#1", "orchestrator#2", "edge"]
SERVERS = ["rabbitmq", "store"]
LINKS = ["orchestrator#1>rabbitmq", "edge>store"]


def faults(seed: int, length: float = 300) -> list[Fault]:
    return schedule(seed, length, PROCESSES, SERVERS, LINKS)


def test_a_seed_makes_one_schedule() -> None:
    assert faults(1) == faults(1)
    assert faults(1) != faults(2)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_comes_and_every_server_is_killed(seed: int) -> None:
    planned = faults(seed)
    assert {fault.kind for fault in planned} == {*PROCESS_KINDS, *LINK_KINDS, *LOAD_KINDS}
    assert {fault.target for fault in planned if fault.kind == "kill"} >= set(SERVERS)
    assert {fault.target for fault in planned} == {*PROCESSES, *SERVERS, *LINKS, "system"}


@pytest.mark.parametrize("seed", range(5))
def test_faults_overlap_but_not_on_one_target(seed: int) -> None:
    planned = faults(seed)
    assert [fault.at for fault in planned] == sorted(fault.at for fault in planned)
    assert any(after.at < before.at + before.seconds for before, after in pairwise(planned))
    last: dict[str, Fault] = {}
    for fault in planned:
        before = last.get(fault.target)
        if before is not None:
            assert fault.at >= before.at + before.seconds
            if fault.target in SERVERS:
                assert fault.at >= before.at + BOOT
        last[fault.target] = fault


def test_a_run_too_short_for_faults_has_none() -> None:
    assert faults(1, length=4) == []


def test_a_long_stall_comes_only_in_a_long_run() -> None:
    def longest(length: float) -> float:
        return max(fault.seconds for seed in range(20) for fault in faults(seed, length) if fault.kind == "stall")

    assert longest(120) < 10
    assert longest(300) > 50
