"""Short runs of ``python -m benchmarks.faults``: the whole system under faults, and the judge of what came of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.records import Records, read_records
from scripts.postgres_server import postgres_programs
from scripts.server_processes import rabbitmq_program, secantus_program
from tests.conftest import in_ci

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

ROOT = Path(__file__).resolve().parents[2]
SEED = 20
STORES: dict[str, Callable[[], Path | None]] = {"mongodb": secantus_program, "postgresql": postgres_programs}


def faults(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.faults", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=False)


def rewrite(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Doctor one file of a recorded run."""
    path = folder / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("store", STORES)
def test_communication_reliability(store: str, tmp_path: Path) -> None:
    """Under kills, stops, bad connections, full queues and copies, nothing is lost and nothing happens twice; and a
    judge that says so of this run finds one result taken out of its records by hand, and one effect put in."""
    _need("RabbitMQ", rabbitmq_program())
    _need(store, STORES[store]())
    folder = tmp_path / "run"
    options = ["--minutes", "0.4", "--executions", "60", "--every", "1", "--patience", "240", "--store", store]
    done = faults(*options, "--seed", str(SEED), "--out", str(folder))
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    assert f"0 violations; seed {SEED}" in done.stdout
    records = read_records(folder)
    _was_a_run_under_faults(records)
    lost, doubled = _doctor(folder, records)
    judged = faults("check", str(folder))
    assert judged.returncode == 1
    found = [line for line in judged.stdout.splitlines() if line.startswith("VIOLATION")]
    assert len(found) == 2, found
    assert any(line.startswith(f"VIOLATION lost result: {lost}:") for line in found)
    assert any(line.startswith(f"VIOLATION doubled effect: {doubled}:") for line in found)


def _was_a_run_under_faults(records: Records) -> None:
    assert [fault["kind"] for fault in records.schedule] == [
        fault["kind"] for fault in sorted(records.faults, key=lambda fault: fault["at"])
    ]
    assert len(records.faults) >= 10
    assert {"kill", "pause", "drop"} <= {fault["kind"] for fault in records.faults}
    assert len(records.executions) >= 60
    assert {execution["way"] for execution in records.executions} == {"rest", "broker"}
    assert {execution["status"] for execution in records.executions} == {"completed", "failed"}
    assert records.copies
    assert any(row["what"] == "repeat" for row in records.ledger)


def _doctor(folder: Path, records: Records) -> tuple[str, str]:
    """Take the result of a last step out of the log, and have an effect of another execution once more; which ones."""
    loser, doubler = [one for one in records.executions if one["shape"] in ("chain", "diamond")][:2]
    needed = {needed for step in loser["steps"].values() for needed in step["needs"]}
    (last,) = set(loser["steps"]) - needed

    def lose(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            if entry["execution_id"] == loser["execution_id"]:
                entry["events"] = [
                    event for event in entry["events"] if (event["kind"], event.get("step")) != ("step_succeeded", last)
                ]

    def double(calls: list[dict[str, Any]]) -> None:
        effect = next(
            call
            for call in calls
            if call["execution_id"] == doubler["execution_id"] and call["step"] == first and call["what"] == "effect"
        )
        calls.append({**effect, "seq": len(calls) + 1})

    first = next(iter(doubler["steps"]))
    rewrite(folder, "log", lose)
    rewrite(folder, "ledger", double)
    return f"{loser['execution_id']}/{last}", f"{doubler['execution_id']}/{first}"


def _need(what: str, found: Path | None) -> None:
    if found is None and in_ci():
        pytest.fail(f"{what} is not installed", pytrace=False)
    if found is None:
        pytest.skip(f"not run: {what} is not installed")
