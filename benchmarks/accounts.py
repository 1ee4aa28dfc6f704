"""From what was read before and after a round to its figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.counting import BYTES, MESSAGES, STORE_CALLS, STORE_ITEMS

Counted = Sequence[Mapping[str, Mapping[str, int]]]  # what each process's ``Counts.totals`` said


def figures_of(
    steps: int,
    cpu_before: Mapping[str, float],
    cpu_after: Mapping[str, float],
    before: Counted,
    after: Counted,
    memory: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """The figures of a round of ``steps`` steps.

    ``cpu_seconds`` by process; ``messages``, ``message_bytes``, ``store_calls`` and ``store_items`` by name;
    ``memory_mb`` by process; ``messages_per_step``, ``message_bytes_per_step`` and ``store_calls_per_step`` in all.
    """
    counted = {kind: _difference(kind, before, after) for kind in (MESSAGES, BYTES, STORE_CALLS, STORE_ITEMS)}
    per_step = {f"{kind}_per_step": sum(counted[kind].values()) / steps for kind in (MESSAGES, BYTES, STORE_CALLS)}
    cpu = {name: cpu_after[name] - cpu_before[name] for name in cpu_before}
    return {"cpu_seconds": cpu, **counted, **per_step, "memory_mb": memory}


def _difference(kind: str, before: Counted, after: Counted) -> dict[str, int]:
    total: Counter[str] = Counter()
    for process in after:
        total.update(process[kind])
    for process in before:
        total.subtract(process[kind])
    return {name: count for name, count in sorted(total.items()) if count}
