"""What a run has to say for itself, in words."""

from collections.abc import Iterator

from benchmarks.faults.checker import Verdict
from benchmarks.faults.records import Records

SHOWN = 50  # violations


def report(records: Records, verdict: Verdict) -> str:
    return "\n".join(_lines(records, verdict))


def _lines(records: Records, verdict: Verdict) -> Iterator[str]:
    run = records.run[0] if records.run else {}
    yield ", ".join(f"{name} {value}" for name, value in run.items())
    for name, count in verdict.counts.items():
        yield f"{count:>9,}  {name}"
    yield "faults: " + (", ".join(f"{kind} {count}" for kind, count in sorted(verdict.faults.items())) or "none")
    yield "expected: " + ", ".join(f"{status} {count}" for status, count in sorted(verdict.by_status.items()))
    for letter in records.dead_letters:
        yield f"dead letter: {letter['reason']} from {letter['queue']}: {letter['type']} {letter['detail']}"
    for violation in verdict.violations[:SHOWN]:
        yield f"VIOLATION {violation}"
    if len(verdict.violations) > SHOWN:
        yield f"and {len(verdict.violations) - SHOWN} more"
    seed = run.get("seed", "unknown")
    yield f"{len(verdict.violations)} violations; seed {seed}"
