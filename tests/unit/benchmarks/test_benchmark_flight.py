"""A round is good only if every workflow ended and put out the right bytes."""

import time

import pytest

from benchmarks.definitions import payload_of
from benchmarks.flight import Flight, RoundFailed
from benchmarks.rounds import Workload

WORKLOAD = Workload("two", "chain", steps=2, workflows=2, in_flight=2)


def right(number: int) -> dict[str, object]:
    return {"s1": {"payload": payload_of(number, WORKLOAD.payload)}}


def begun() -> tuple[Flight, list[str]]:
    flight = Flight(WORKLOAD, "x")
    return flight, [flight.begin()[0] for _ in range(WORKLOAD.workflows)]


async def test_a_round_in_which_all_is_right() -> None:
    flight, ids = begun()
    for number, execution_id in enumerate(ids):
        flight.end(execution_id, right(number), time.perf_counter())
    await flight.until_over(5)
    assert len(flight.latencies_ms) == flight.compared == 2


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"s1": {"payload": payload_of(1, 100)}}, "workflow 0 of two put out"),
        ({"s1": {"payload": payload_of(0, 99)}}, "workflow 0 of two put out"),
        ({"s1": {}}, "workflow 0 of two put out"),
        ({}, "gave 0 outputs, not 1"),
        ({**right(0), "s2": {}}, "gave 2 outputs, not 1"),
    ],
)
async def test_wrong_outputs_fail_the_round(outputs: dict[str, object], said: str) -> None:
    flight, ids = begun()
    flight.end(ids[0], outputs, time.perf_counter())
    with pytest.raises(RoundFailed, match=said):
        await flight.until_over(5)


async def test_a_large_output_is_compared_when_it_was_read() -> None:
    flight, ids = begun()
    flight.end(ids[0], {"s1": {"payload_id": "p", "size": 100}}, time.perf_counter())
    flight.end(ids[1], right(1), time.perf_counter())
    await flight.until_over(5)
    assert flight.large == [(0, "p")]
    flight.compare(0, {"payload": payload_of(0, 100)})
    with pytest.raises(RoundFailed, match="put out 'None'"):
        flight.compare(0, None)


async def test_a_workflow_that_never_ends_fails_the_round() -> None:
    flight, ids = begun()
    flight.end(ids[0], right(0), time.perf_counter())
    with pytest.raises(RoundFailed, match="1 of 2 had"):
        await flight.until_over(0.01)


def test_an_end_told_twice_counts_once() -> None:
    flight, ids = begun()
    told = {"execution_id": ids[0], "workflow_id": "w"}
    assert flight.knows(told)
    flight.end(ids[0], right(0), time.perf_counter())
    assert not flight.knows(told)
    assert not flight.knows({"execution_id": "another's", "workflow_id": "w"})


async def test_executions_that_somebody_else_starts_are_known_by_their_workflow() -> None:
    flight = Flight(WORKLOAD, workflow_id="w")
    for execution_id in ("a", "b"):
        told = {"execution_id": execution_id, "workflow_id": "w"}
        assert flight.knows(told)
        flight.end(execution_id, right(0), time.perf_counter())
        assert not flight.knows(told)
    assert not flight.knows({"execution_id": "c", "workflow_id": "v"})
    flight.expect(2)
    await flight.until_over(5)
