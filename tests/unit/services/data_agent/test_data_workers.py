"""Worker processes: real ones, killed, starved and crowded."""

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.data_agent.config import DataAgentConfig
from services.data_agent.frames import read_frame, write_frame
from services.data_agent.workers import Workers
from services.runtime.agent import CapabilityError
from services.runtime.correlation import holding
from tests.support.log_capture import captured_lines


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers(DataAgentConfig(workers=2, memory_limit_mb=128))
    yield pool
    pool.close()


def ask(pool: Workers, sql: str, limit: float | None = None) -> list[dict[str, object]]:
    return pool.run("query", {"sql": sql, "timeout_seconds": limit}, limit)["records"]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not become true within 30 s")


def test_nothing_is_started_before_it_is_needed_and_a_process_serves_many_jobs(workers) -> None:
    assert workers.process_ids == []
    assert [ask(workers, f"SELECT {number} AS n") for number in range(5)] == [[{"n": number}] for number in range(5)]
    assert len(workers.process_ids) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(repeat('x', 4000000000)) AS n",
        "SELECT list_sum(range(500000000)) AS n",
        "SELECT length(printf('%2000000000d', 1)) AS n",
    ],
)
def test_memory_that_duckdb_does_not_count_is_bounded_by_the_operating_system(workers, sql) -> None:
    with pytest.raises(CapabilityError) as caught:
        ask(workers, sql)
    assert caught.value.code == "MemoryLimit"
    assert workers.process_ids == []
    assert ask(workers, "SELECT 1 AS n") == [{"n": 1}]


def test_work_that_ignores_its_interrupt_is_killed(workers, monkeypatch) -> None:
    monkeypatch.setattr("services.data_agent.workers.GRACE_SECONDS", 0.2)
    # One call of one function over one row: DuckDB looks at interrupts between blocks of rows only.
    sql = "SELECT " + " + ".join(f"length(lpad('x', {300_000_000 + number}, 'y'))" for number in range(3))
    with pytest.raises(CapabilityError) as caught:
        ask(workers, sql, 0.1)
    assert caught.value.code == "QueryTimeout"
    assert "0.1 s" in str(caught.value)
    # One that stopped by itself would still be there.
    assert workers.process_ids == []
    assert ask(workers, "SELECT 1 AS n") == [{"n": 1}]


def test_a_process_that_answers_nothing_any_more_is_killed(workers, monkeypatch) -> None:
    monkeypatch.setattr("services.data_agent.workers.GRACE_SECONDS", 0.2)
    ask(workers, "SELECT 1")
    (pid,) = workers.process_ids
    os.kill(pid, signal.SIGSTOP)
    codes: list[str] = []

    def job() -> None:
        with pytest.raises(CapabilityError) as caught:
            ask(workers, "SELECT 1", 0.1)
        codes.append(caught.value.code)

    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    thread.join(30)
    assert codes == ["QueryTimeout"]
    assert gone(pid)


def test_a_process_that_dies_under_a_job_is_told_and_replaced(workers) -> None:
    ask(workers, "SELECT 1")
    (pid,) = workers.process_ids
    failures: list[CapabilityError] = []

    def long_job() -> None:
        try:
            ask(workers, "SELECT count(*) FROM range(1000000000000)")
        except CapabilityError as error:
            failures.append(error)

    thread = threading.Thread(target=long_job)
    thread.start()
    wait_until(lambda: workers.busy_count == 1)
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert [(error.code, error.retryable) for error in failures] == [("WorkerDied", True)]
    assert "exit code -9" in str(failures[0])
    assert ask(workers, "SELECT 1 AS n") == [{"n": 1}]
    assert workers.process_ids != [pid]


def test_a_process_that_died_while_idle_is_not_given_a_job(workers) -> None:
    ask(workers, "SELECT 1")
    (pid,) = workers.process_ids
    os.kill(pid, signal.SIGKILL)
    idle = workers._idle[0]
    wait_until(lambda: idle.exit_code == -9)
    assert ask(workers, "SELECT 1 AS n") == [{"n": 1}]
    assert workers.process_ids != [pid]


def test_no_more_processes_than_configured_and_every_thread_gets_its_own_answer(workers) -> None:
    seen: list[int] = []

    def job(number: int) -> tuple[int, object]:
        (row,) = ask(workers, f"SELECT sum(n * {number}) AS s FROM range(10000) AS t(n)")
        seen.append(len(workers.process_ids))
        return number, row["s"]

    with ThreadPoolExecutor(8) as threads:
        answers = dict(threads.map(job, range(64)))
    assert answers == {number: number * 49_995_000 for number in range(64)}
    assert max(seen) == 2


def test_closing_ends_idle_and_busy_processes(workers) -> None:
    ask(workers, "SELECT 1")
    failures: list[CapabilityError] = []

    def long_job() -> None:
        try:
            ask(workers, "SELECT count(*) FROM range(1000000000000)")
        except CapabilityError as error:
            failures.append(error)

    threads = [threading.Thread(target=long_job) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: workers.busy_count == 2)
    pids = workers.process_ids
    workers.close()
    for thread in threads:
        thread.join()
    assert sorted(error.code for error in failures) == ["AgentStopped", "WorkerDied", "WorkerDied"]
    assert all(map(gone, pids))
    assert workers.process_ids == []
    workers.open()
    assert ask(workers, "SELECT 1 AS n") == [{"n": 1}]


def test_a_worker_ends_when_its_parent_is_gone(workers) -> None:
    ask(workers, "SELECT 1")
    (pid,) = workers.process_ids
    worker = workers._idle[0]
    worker._process.stdin.close()
    wait_until(lambda: worker.exit_code is not None)
    assert worker.exit_code == 0
    assert gone(pid)


def test_a_worker_has_none_of_the_parent_s_secrets(workers, monkeypatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mongodb://user:hunter2@host")
    ask(workers, "SELECT 1")
    (pid,) = workers.process_ids
    with open(f"/proc/{pid}/environ", "rb") as environment:
        names = {entry.partition(b"=")[0] for entry in environment.read().split(b"\0") if entry}
    assert b"PYTHONPATH" in names
    assert b"DATABASE_URL" not in names


def test_an_error_travels_whole(workers) -> None:
    with pytest.raises(CapabilityError) as caught:
        workers.run("query", {"sql": "SELECT nope FROM data", "data_source": [{"a": 1}]}, None)
    assert (caught.value.code, caught.value.retryable) == ("UnknownColumn", False)
    assert caught.value.details == {"tables": {"data": ["a"]}}


def test_frames() -> None:
    stream = io.BytesIO()
    for body in (b"", b"x", b"y" * 100_000):
        write_frame(stream, body)
    stream.seek(0)
    assert [read_frame(stream) for _ in range(4)] == [b"", b"x", b"y" * 100_000, None]
    assert read_frame(io.BytesIO(b"\0\0\0\5abc")) is None
    assert read_frame(io.BytesIO(b"\0\0")) is None


def test_what_goes_wrong_in_a_worker_is_in_the_log_of_the_service(workers) -> None:
    with captured_lines() as lines, holding("data_agent", execution_id="e1", step="s1"):
        with pytest.raises(CapabilityError, match="KeyError"):
            workers.run("no such job", {}, None)
        with workers._worker() as worker:
            assert worker.ask(b"no JSON", 30) is None
        for thread in threading.enumerate():
            if thread.name == "worker-stderr":
                thread.join(30)
    job, *written = lines
    assert (job["event"], job["service"], job["execution_id"]) == (
        "job failed in its worker process",
        "data_agent",
        "e1",
    )
    assert job["exception"].rstrip().endswith("KeyError: 'no such job'")
    assert {line["event"] for line in written} == {"worker process wrote"}
    assert written[-1]["text"].startswith("json.decoder.JSONDecodeError")
