"""Ids of what is traced, whether it is recorded, and the span that work stands under."""

import asyncio
import random

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from contracts.traceparent import normalized
from services.runtime.telemetry.trace_context import (
    TraceContext,
    attempt_span_id,
    attempt_traceparent,
    carry,
    carrying,
    child_of,
    current_traceparent,
    execution_root,
    execution_span_id,
    execution_traceparent,
    is_sampled,
    new_root,
    read,
    within,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize(("text", "sampled"), [(SAMPLED, True), (UNSAMPLED, False)])
def test_a_traceparent_is_read_and_written(text: str, sampled: bool) -> None:
    context = read(text)
    assert context == TraceContext(int(TRACE, 16), int(SPAN, 16), sampled)
    assert context is not None
    assert context.traceparent == text
    assert is_sampled(text) is sampled
    assert read("") is None


def test_short_ids_keep_their_zeros() -> None:
    assert TraceContext(1, 2, True).traceparent == f"00-{'1'.zfill(32)}-{'2'.zfill(16)}-01"


def test_ids_of_executions_and_attempts_are_the_same_in_every_process() -> None:
    # Written down: another release that made others would tear the traces of executions that are open.
    assert execution_span_id("exec-1") == "16d9b69f5e0c8744"
    assert attempt_span_id("exec-1", "load", 1) == "c7994ccef7905030"
    assert f"{execution_root('exec-1', 1).trace_id:032x}" == "5e0974051072afeaa956cda7fdd4d020"


def test_ids_differ_by_execution_step_and_attempt() -> None:
    ids = {execution_span_id("e")} | {
        attempt_span_id(execution, step, attempt)
        for execution in ("e", "f")
        for step in ("s", "t", "s1")
        for attempt in (1, 2, 11)
    }
    assert len(ids) == 1 + 2 * 3 * 3
    assert all(len(one) == 16 and int(one, 16) for one in ids)


def test_an_attempt_is_sent_under_its_own_span() -> None:
    sent = attempt_traceparent(SAMPLED, "e", "s", 2)
    assert sent == f"00-{TRACE}-{attempt_span_id('e', 's', 2)}-01" == normalized(sent)
    assert execution_traceparent(SAMPLED, "e") == f"00-{TRACE}-{execution_span_id('e')}-01"


@pytest.mark.parametrize("started", ["", UNSAMPLED])
def test_what_is_not_recorded_goes_on_as_it_came(started: str) -> None:
    assert attempt_traceparent(started, "e", "s", 1) == started
    assert execution_traceparent(started, "e") == started


def test_an_execution_without_a_trace_is_the_root_of_its_own() -> None:
    root = execution_root("exec-1", 1.0)
    assert f"{root.span_id:016x}" == execution_span_id("exec-1")
    assert root == execution_root("exec-1", 1.0)
    assert root.trace_id != execution_root("exec-2", 1.0).trace_id
    assert normalized(root.traceparent) == root.traceparent


def test_a_child_is_in_the_same_trace() -> None:
    parent = new_root(1.0)
    child = child_of(parent)
    assert (child.trace_id, child.sampled) == (parent.trace_id, True)
    assert child.span_id not in (0, parent.span_id)
    assert not child_of(new_root(0.0)).sampled


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.25, 0.5, 0.999, 1.0])
def test_the_share_that_is_recorded_is_opentelemetrys(ratio: float) -> None:
    """Whoever else samples the same traces by the same ratio chooses the same ones."""
    theirs = TraceIdRatioBased(ratio)
    chance = random.Random(7)
    for trace_id in (1, 2**64 - 1, 2**64, 2**128 - 1, *(chance.getrandbits(128) for _ in range(500))):
        wanted = theirs.should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE
        assert within(ratio, trace_id) is wanted


def test_about_a_quarter_is_a_quarter() -> None:
    count = sum(execution_root(f"exec-{i}", 0.25).sampled for i in range(4_000))
    assert 850 < count < 1_150


async def test_work_stands_under_a_span_until_its_task_ends() -> None:
    async def work() -> str:
        carry(SAMPLED)
        await asyncio.sleep(0)
        return await asyncio.to_thread(current_traceparent)

    assert await asyncio.create_task(work()) == SAMPLED
    assert current_traceparent() == ""


def test_a_block_gives_back_what_was_there() -> None:
    with carrying(SAMPLED):
        with carrying(UNSAMPLED):
            assert current_traceparent() == UNSAMPLED
        assert current_traceparent() == SAMPLED
    assert current_traceparent() == ""
