"""A cancelled step ends its worker process in the middle of the job, and no other's."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from services.data_agent.config import DataAgentConfig
from services.data_agent.workers import Workers
from services.runtime.agent.step_context import StepContext, WorkCancelled, working_on

LONG = "SELECT sum(sqrt(a.range * b.range)) AS n FROM range(1000000) a, range(1000000) b"


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers(DataAgentConfig(workers=1, memory_limit_mb=128, time_limit_seconds=300))
    yield pool
    pool.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def in_step(step: StepContext, pool: Workers, sql: str) -> list[dict[str, Any]]:
    with working_on(step):
        found: list[dict[str, Any]] = pool.run("query", {"sql": sql}, None)["records"]
        return found


def busy(pool: Workers, work: "Future[Any]") -> None:
    for _ in range(1_200):
        if pool.busy_count:
            return
        assert not work.done()
        time.sleep(0.05)
    raise AssertionError("no worker began within 60 s")


def test_a_cancelled_step_ends_its_process_and_the_next_job_runs(workers: Workers, threads: ThreadPoolExecutor) -> None:
    step = StepContext("e", "s", 1)
    work = threads.submit(in_step, step, workers, LONG)
    busy(workers, work)
    step.cancel()
    with pytest.raises(WorkCancelled, match="e/s"):
        work.result(60)
    assert workers.process_ids == []
    assert in_step(StepContext("e", "t", 1), workers, "SELECT 1 AS n") == [{"n": 1}]


def test_a_step_cancelled_while_it_waits_for_a_process_takes_none(
    workers: Workers, threads: ThreadPoolExecutor
) -> None:
    first, second = StepContext("e", "first", 1), StepContext("e", "second", 1)
    works = [threads.submit(in_step, first, workers, LONG)]
    busy(workers, works[0])
    works.append(threads.submit(in_step, second, workers, LONG))
    second.cancel()
    first.cancel()
    for work in works:
        with pytest.raises(WorkCancelled):
            work.result(60)
    assert workers.process_ids == []


def test_a_step_that_is_cancelled_after_its_job_kills_nobody(workers: Workers) -> None:
    step = StepContext("e", "s", 1)
    assert in_step(step, workers, "SELECT 1 AS n") == [{"n": 1}]
    (process,) = workers.process_ids
    step.cancel()
    assert in_step(StepContext("e", "t", 1), workers, "SELECT 2 AS n") == [{"n": 2}]
    assert workers.process_ids == [process]
