"""Whether the log of one execution tells a history that its graph allows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.faults.records import Row
from benchmarks.faults.values import step_value
from benchmarks.faults.violation import Violation

TERMINAL = {
    "step_succeeded": "succeeded",
    "step_failed": "failed",
    "step_skipped": "skipped",
    "step_cancelled": "cancelled",
}
_OF_AN_ATTEMPT = ("step_succeeded", "step_failed", "attempt_failed", "step_resent")
WAKE_UP = "wake:"
STEP_KINDS = {*TERMINAL, "step_dispatched", "step_resent", "attempt_failed"}


def log_violations(execution: Row, entries: Sequence[Row]) -> Iterator[Violation]:
    """``execution`` says what is expected, ``entries`` are its log, by ``n``."""
    execution_id = execution["execution_id"]
    if not entries:
        yield Violation("lost execution", execution_id, detail="it was accepted and has no log")
        return
    yield from _entries_in_order(execution_id, entries)
    events = [event for entry in entries for event in entry["events"]]
    yield from _frame(execution, events)
    yield from _one_result_each(execution, events)
    yield from _history(execution, events)
    yield from _outcomes(execution, events)


def expected_values(execution: Row) -> dict[str, str | None]:
    """What each step gives, None for one that gives nothing: worked out from the graph alone."""
    steps: Mapping[str, Row] = execution["steps"]
    values: dict[str, str | None] = {}

    def value(step_id: str) -> str | None:
        if step_id not in values:
            step = steps[step_id]
            takes = {needed: value(needed) for needed in step["needs"]}
            ran = step["outcome"] != "skipped"
            values[step_id] = step_value(f"{execution['execution_id']}/{step_id}", takes) if ran else None
        return values[step_id]

    return {step_id: value(step_id) for step_id in steps}


def _entries_in_order(execution_id: str, entries: Sequence[Row]) -> Iterator[Violation]:
    numbers = [entry["n"] for entry in entries]
    if numbers != list(range(1, len(entries) + 1)):
        yield Violation("log not dense", execution_id, detail=f"its entries are {numbers}")
    for message, count in Counter(message for entry in entries for message in entry["applied"]).items():
        # A wake-up has no effect of its own: it lets happen what is due when it comes, so it may well come again.
        if count > 1 and not message.startswith(WAKE_UP):
            yield Violation("message applied twice", execution_id, detail=f"{message}, {count} times")


def _frame(execution: Row, events: Sequence[Row]) -> Iterator[Violation]:
    execution_id = execution["execution_id"]
    kinds = [event["kind"] for event in events]
    if kinds[:1] != ["execution_started"] or kinds.count("execution_started") != 1:
        yield Violation("start", execution_id, detail=f"{kinds.count('execution_started')} starts, first {kinds[:1]}")
    endings = [event for event in events if event["kind"] == "execution_ended"]
    if not endings:
        yield Violation("never ended", execution_id)
        return
    if len(endings) > 1:
        yield Violation("ended twice", execution_id, detail=f"{len(endings)} endings")
    if after := kinds[kinds.index("execution_ended") + 1 :]:
        yield Violation("went on after its end", execution_id, detail=", ".join(after))
    if endings[0]["status"] != execution["status"]:
        detail = f"{endings[0]['status']} instead of {execution['status']}"
        yield Violation("wrong status", execution_id, detail=detail)


def _one_result_each(execution: Row, events: Sequence[Row]) -> Iterator[Violation]:
    execution_id = execution["execution_id"]
    ends = Counter(event["step"] for event in events if event["kind"] in TERMINAL)
    for step_id in execution["steps"]:
        if ends[step_id] == 0:
            yield Violation("lost result", execution_id, step_id, "its log has no end of this step")
        elif ends[step_id] > 1:
            yield Violation("doubled result", execution_id, step_id, f"its log has {ends[step_id]} ends of this step")
    for step_id in sorted({event["step"] for event in events if event["kind"] in STEP_KINDS} - set(execution["steps"])):
        yield Violation("unknown step", execution_id, step_id)


def _history(execution: Row, events: Sequence[Row]) -> Iterator[Violation]:
    """Walk through the events in order: nothing may come before what it follows from."""
    execution_id, steps = execution["execution_id"], execution["steps"]
    ended: set[str] = set()
    attempt: Counter[str] = Counter()
    waiting: set[str] = set()  # failed, with another attempt to come
    for event in events:
        kind, step_id = event["kind"], event.get("step", "")
        if kind not in STEP_KINDS or step_id not in steps:
            continue
        missing = [needed for needed in steps[step_id]["needs"] if needed not in ended]
        if missing:
            yield Violation("before its dependencies", execution_id, step_id, f"{kind} before {', '.join(missing)}")
        if step_id in ended and kind not in TERMINAL:
            yield Violation("went on after its result", execution_id, step_id, kind)
        if kind == "step_dispatched":
            if event["attempt"] != attempt[step_id] + 1 or (attempt[step_id] and step_id not in waiting):
                detail = f"attempt {event['attempt']} was sent when {attempt[step_id]} was the last"
                yield Violation("attempt out of turn", execution_id, step_id, detail)
            attempt[step_id] = event["attempt"]
            waiting.discard(step_id)
        elif kind in _OF_AN_ATTEMPT and not 1 <= event["attempt"] <= attempt[step_id]:
            detail = f"{kind} of attempt {event['attempt']}, sent were {attempt[step_id]}"
            yield Violation("result of what was never sent", execution_id, step_id, detail)
        if kind == "attempt_failed":
            waiting.add(step_id)
        if kind == "step_skipped" and attempt[step_id]:
            yield Violation("skipped after it was sent", execution_id, step_id)
        if kind in TERMINAL:
            ended.add(step_id)


def _outcomes(execution: Row, events: Sequence[Row]) -> Iterator[Violation]:
    execution_id = execution["execution_id"]
    values = expected_values(execution)
    for event in events:
        step_id = event.get("step", "")
        if event["kind"] not in TERMINAL or step_id not in execution["steps"]:
            continue
        expected = execution["steps"][step_id]
        outcome = TERMINAL[event["kind"]]
        if outcome != expected["outcome"]:
            detail = f"{outcome} instead of {expected['outcome']}{_error(event)}"
            yield Violation("wrong outcome", execution_id, step_id, detail)
        elif outcome == "succeeded":
            yield from _right_result(execution_id, step_id, expected, values[step_id], event)


def _right_result(execution_id: str, step_id: str, expected: Row, value: str | None, event: Row) -> Iterator[Violation]:
    given: Any = (event.get("output") or {}).get("value")
    if given != value:
        yield Violation("wrong result", execution_id, step_id, f"{given} instead of {value}")
    if event["attempt"] <= expected["failing"]:
        detail = f"attempt {event['attempt']}, though its first {expected['failing']} fail"
        yield Violation("success that cannot be", execution_id, step_id, detail)


def _error(event: Row) -> str:
    error = event.get("error")
    return f" ({error['type']}: {error['message']})" if error else ""
