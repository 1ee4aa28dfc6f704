"""The records of a fault run in which nothing went wrong, written by hand: no system is needed to judge the judge."""

from collections import deque
from typing import Any

from benchmarks.faults.check_log import expected_values
from benchmarks.faults.collect import queue_names
from benchmarks.faults.records import Recorder, Records, Row
from benchmarks.faults.shapes import SHAPES, planned


def faultless_records(seed: int = 3) -> Records:
    """One execution of every shape, and both ways through a branch."""
    records = Records(run=[{"seed": seed}], faults=[{"kind": "kill", "target": "edge", "at": 1.0}])
    records.queues = [{"name": name, "messages": 0} for name in queue_names()]
    wanted = {(shape, number) for shape in SHAPES for number in (0, 1)}
    for index in range(1_000):
        plan = planned(seed, index)
        key = (plan.shape, plan.inputs["number"])
        if key in wanted:
            wanted.remove(key)
            steps = {step_id: dict(step) for step_id, step in plan.steps.items()}
            policies = {
                step["id"]: step.get("retry", {"max_attempts": 1})["max_attempts"] for step in plan.definition["steps"]
            }
            row = {"way": ("rest", "broker")[index % 2], "shape": plan.shape, "status": plan.status, "steps": steps}
            _run(records, {"execution_id": f"{plan.shape}-{key[1]}", **row}, policies)
    assert not wanted
    return records


def write(records: Records, recorder: Recorder) -> None:
    for name, rows in vars(records).items():
        recorder.add(name, *rows)


def find(rows: list[Row], **fields: Any) -> Row:
    """The first row with these fields."""
    return next(row for row in rows if all(row.get(name) == value for name, value in fields.items()))


def _run(records: Records, execution: Row, policies: dict[str, int]) -> None:
    """Its steps one after the other, each in an entry of its own."""
    execution_id, steps = execution["execution_id"], execution["steps"]
    values = expected_values(execution)
    entries: list[Row] = []

    def commit(message: str, *events: Row) -> None:
        entry = {"execution_id": execution_id, "n": len(entries) + 1, "at": 0.0, "applied": [message]}
        entries.append({**entry, "events": list(events)})

    def call(step_id: str, attempt: int, what: str) -> None:
        row = {"execution_id": execution_id, "step": step_id, "attempt": attempt, "value": values[step_id]}
        key = f"{execution_id}/{step_id}"
        records.ledger.append({"seq": len(records.ledger) + 1, "at": 0.0, **row, "key": key, "what": what})

    commit("start", {"kind": "execution_started"})
    waiting, ended = deque(steps), set[str]()
    while waiting:
        step_id = waiting.popleft()
        step = steps[step_id]
        if not ended.issuperset(step["needs"]):
            waiting.append(step_id)
            continue
        ended.add(step_id)
        if step["outcome"] == "skipped":
            commit(f"skip-{step_id}", {"kind": "step_skipped", "step": step_id, "reason": "condition false"})
            continue
        tries = min(step["failing"] + 1, policies[step_id])
        for attempt in range(1, tries + 1):
            fails = attempt <= step["failing"]
            had = any(row["key"] == f"{execution_id}/{step_id}" and row["what"] == "effect" for row in records.ledger)
            effect = "repeat" if had else "effect"
            late = step["effect"] and (attempt > 1 or step["outcome"] == "failed")
            call(step_id, attempt, effect if not fails or late else "refused")
            where = {"step": step_id, "attempt": attempt}
            end: Row = {"kind": "step_succeeded", **where, "output": {"value": values[step_id], "number": 0}}
            if fails:
                error = {"type": "ToldToFail", "message": "told to"}
                end = {"kind": "step_failed" if attempt == tries else "attempt_failed", **where, "error": error}
            commit(f"send-{step_id}-{attempt}", {"kind": "step_dispatched", **where})
            commit(f"result-{step_id}-{attempt}", end)
    entries[-1]["events"].append({"kind": "execution_ended", "status": execution["status"]})
    records.executions.append(execution)
    records.log += entries
    records.headers.append({"execution_id": execution_id, "n": len(entries), "status": execution["status"]})
    told = [
        {"kind": "advanced", **{name: entry[name] for name in ("execution_id", "n", "applied")}} for entry in entries
    ]
    records.events += [*told, {"kind": "ended", "execution_id": execution_id, "status": execution["status"]}]
