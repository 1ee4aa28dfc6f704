"""Whether the world outside saw of one execution what its log says, and nothing else."""

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.faults.check_log import expected_values
from benchmarks.faults.records import Row
from benchmarks.faults.violation import Violation


def ledger_violations(execution: Row, entries: Sequence[Row], calls: Sequence[Row]) -> Iterator[Violation]:
    """``calls`` are the execution's, in the order in which the ledger took them."""
    execution_id, steps = execution["execution_id"], execution["steps"]
    for step_id in sorted({call["step"] for call in calls} - set(steps)):
        yield Violation("unknown step", execution_id, step_id, "in the ledger")
    known = [call for call in calls if call["step"] in steps]
    yield from _effects(execution, known)
    yield from _log_and_ledger_agree(execution, entries, known)
    yield from _in_the_graphs_order(execution, known)


def _effects(execution: Row, calls: Sequence[Row]) -> Iterator[Violation]:
    execution_id = execution["execution_id"]
    values = expected_values(execution)
    effects = Counter(call["step"] for call in calls if call["what"] == "effect")
    for step_id, step in execution["steps"].items():
        if effects[step_id] > 1:
            yield Violation("doubled effect", execution_id, step_id, f"effective {effects[step_id]} times")
        if step["effect"] and not effects[step_id]:
            yield Violation("lost effect", execution_id, step_id, "the ledger has no effect of it")
        if effects[step_id] and not step["effect"]:
            yield Violation("effect that must not be", execution_id, step_id, f"it is {step['outcome']}")
    for call in calls:
        key = f"{execution_id}/{call['step']}"
        if call["key"] != key:
            yield Violation("wrong key", execution_id, call["step"], f"{call['key']} instead of {key}")
        if call["what"] == "conflict" or call["value"] != values[call["step"]]:
            detail = f"{call['value']} instead of {values[call['step']]} ({call['what']})"
            yield Violation("ran with other inputs", execution_id, call["step"], detail)


def _log_and_ledger_agree(execution: Row, entries: Sequence[Row], calls: Sequence[Row]) -> Iterator[Violation]:
    """Every run is of an attempt that the log had sent, and every success was seen outside with the same value."""
    execution_id = execution["execution_id"]
    events = [event for entry in entries for event in entry["events"]]
    sent = {(event["step"], event["attempt"]) for event in events if event["kind"] == "step_dispatched"}
    for step_id, attempt in sorted({(call["step"], call["attempt"]) for call in calls} - sent):
        yield Violation("ran what was never sent", execution_id, step_id, f"attempt {attempt}")
    written = {(call["step"], call["value"]) for call in calls if call["what"] == "effect"}
    for event in events:
        if event["kind"] == "step_succeeded":
            value = (event.get("output") or {}).get("value")
            if (event["step"], value) not in written:
                detail = f"the log has {value}, of which the ledger knows nothing"
                yield Violation("result without effect", execution_id, event["step"], detail)


def _in_the_graphs_order(execution: Row, calls: Sequence[Row]) -> Iterator[Violation]:
    """The ledger's own order, which no clock of the system has a part in: no step ran before its dependencies had
    their effects."""
    execution_id, steps = execution["execution_id"], execution["steps"]
    first_run: dict[str, int] = {}
    effective: dict[str, int] = {}
    for call in sorted(calls, key=lambda call: call["seq"]):
        first_run.setdefault(call["step"], call["seq"])
        if call["what"] == "effect":
            effective.setdefault(call["step"], call["seq"])
    for step_id, seq in first_run.items():
        late = [
            n for n in steps[step_id]["needs"] if steps[n]["outcome"] == "succeeded" and effective.get(n, seq) >= seq
        ]
        if late:
            yield Violation("ran before its dependencies", execution_id, step_id, f"before {', '.join(late)}")
