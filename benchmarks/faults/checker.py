"""The judge of a run: reads what was recorded, and knows nothing of the engine. Pure functions on plain rows."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.faults.check_ledger import ledger_violations
from benchmarks.faults.check_log import log_violations
from benchmarks.faults.records import Records, Row
from benchmarks.faults.violation import Violation


@dataclass
class Verdict:
    """What was found wrong, and what was counted."""

    violations: list[Violation] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    by_status: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.violations


def check(records: Records) -> Verdict:
    """Judge a recorded run."""
    logs = grouped(records.log)
    ledger = grouped(records.ledger)
    violations = [*_system_violations(records)]
    for execution in records.executions:
        execution_id = execution["execution_id"]
        entries = sorted(logs.get(execution_id, []), key=lambda entry: entry["n"])
        violations += log_violations(execution, entries)
        violations += ledger_violations(execution, entries, ledger.get(execution_id, []))
    violations += _unknown_executions(records)
    violations += _header_violations(records, logs)
    violations += _event_violations(records, logs)
    return Verdict(
        violations,
        _counts(records),
        dict(Counter(row["kind"] for row in records.faults)),
        dict(Counter(execution["status"] for execution in records.executions)),
    )


def grouped(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["execution_id"]].append(row)
    return groups


def _system_violations(records: Records) -> Iterator[Violation]:
    """Starts, queues, dead letters and processes."""
    if not records.executions:
        yield Violation("nothing ran", detail="no execution was accepted")
    if len(records.run) != 1:
        yield Violation("no run", detail=f"run.jsonl has {len(records.run)} rows; a run that came to its end has one")
    for row in records.starts:
        yield Violation(f"start {row['what']}", detail=row["detail"])
    for row in records.queues:
        if row["messages"] is None:
            yield Violation("queue is gone", detail=row["name"])
        elif row["messages"]:
            yield Violation("left in a queue", detail=f"{row['messages']} in {row['name']}")
    copied = {row["message_id"] for row in records.copies}
    for row in records.dead_letters:
        if row["message_id"] not in copied:
            yield Violation("dead letter", detail=f"{row['reason']} from {row['queue']}: {row['type']} {row['detail']}")
    for row in records.services:
        yield Violation(f"service {row['what']}", detail=f"{row['name']}: {row['detail']}")


def _unknown_executions(records: Records) -> Iterator[Violation]:
    known = {execution["execution_id"] for execution in records.executions}
    sources: Mapping[str, Sequence[Row]] = {
        "log": records.log,
        "headers": records.headers,
        "ledger": records.ledger,
        "events": records.events,
    }
    for source, rows in sources.items():
        for execution_id in sorted({row["execution_id"] for row in rows} - known):
            yield Violation("execution that nobody started", execution_id, detail=f"in the {source}")


def _header_violations(records: Records, logs: Mapping[str, Sequence[Row]]) -> Iterator[Violation]:
    headers = grouped(records.headers)
    for execution in records.executions:
        execution_id = execution["execution_id"]
        rows = headers.get(execution_id, [])
        if len(rows) != 1:
            yield Violation("header", execution_id, detail=f"{len(rows)} headers instead of one")
        last = max((entry["n"] for entry in logs.get(execution_id, [])), default=0)
        status = ended_status(logs.get(execution_id, [])) or "running"
        for row in rows:
            if row["n"] > last:
                yield Violation("header", execution_id, detail=f"at entry {row['n']}, the log ends with {last}")
            if row["status"] != status:
                yield Violation("header", execution_id, detail=f"says {row['status']}, the log {status}")


def _event_violations(records: Records, logs: Mapping[str, Sequence[Row]]) -> Iterator[Violation]:
    """The end is told at least once and rightly; what is told of progress is in the log (it may be missing)."""
    told: defaultdict[str, Counter[str]] = defaultdict(Counter)
    entries = {(row["execution_id"], row["n"]): row["applied"] for row in records.log}
    for row in records.events:
        if row["kind"] == "ended":
            told[row["execution_id"]][row["status"]] += 1
        elif entries.get((row["execution_id"], row["n"])) != row["applied"]:
            where = f"entry {row['n']}, applied {row['applied']}"
            yield Violation("event that is not in the log", row["execution_id"], detail=where)
    for execution in records.executions:
        execution_id = execution["execution_id"]
        status = ended_status(logs.get(execution_id, []))
        if status is not None and not told[execution_id][status]:
            yield Violation("end never told", execution_id, detail=f"the log says {status}")
        for wrong in sorted(set(told[execution_id]) - {status}):
            yield Violation("wrong end told", execution_id, detail=f"{wrong}, the log says {status or 'nothing'}")


def ended_status(entries: Iterable[Row]) -> str | None:
    """How an execution ended, by its log."""
    for entry in entries:
        for event in entry["events"]:
            if event["kind"] == "execution_ended":
                return str(event["status"])
    return None


def _counts(records: Records) -> dict[str, int]:
    kinds = Counter(event["kind"] for entry in records.log for event in entry["events"])
    calls = Counter(row["what"] for row in records.ledger)
    attempts = {(row["key"], row["attempt"]) for row in records.ledger}
    endings = [row for row in records.events if row["kind"] == "ended"]
    counts: dict[str, Callable[[], int]] = {
        "executions": lambda: len(records.executions),
        "through REST": lambda: sum(row["way"] == "rest" for row in records.executions),
        "on the broker": lambda: sum(row["way"] == "broker" for row in records.executions),
        "steps": lambda: sum(len(row["steps"]) for row in records.executions),
        "steps succeeded": lambda: kinds["step_succeeded"],
        "steps failed": lambda: kinds["step_failed"],
        "steps skipped": lambda: kinds["step_skipped"],
        "attempts dispatched": lambda: kinds["step_dispatched"],
        "attempts that failed and were retried": lambda: kinds["attempt_failed"],
        "leases that ran out": lambda: kinds["step_resent"],
        "log entries": lambda: len(records.log),
        "runs of attempts": lambda: len(records.ledger),
        "runs beyond an attempt's first": lambda: len(records.ledger) - len(attempts),
        "ledger effects": lambda: calls["effect"],
        "ledger repeats": lambda: calls["repeat"],
        "ledger conflicts": lambda: calls["conflict"],
        "copies published": lambda: len(records.copies),
        "ends told": lambda: len(endings),
        "ends told again": lambda: len(endings) - len({row["execution_id"] for row in endings}),
        "progress entries heard": lambda: len(records.events) - len(endings),
        "dead letters": lambda: len(records.dead_letters),
        "faults": lambda: len(records.faults),
    }
    return {name: count() for name, count in counts.items()}
