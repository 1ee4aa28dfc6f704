"""The workloads by name, and their shorter forms."""

from collections.abc import Iterable
from dataclasses import replace
from math import ceil

from benchmarks.rounds import CHAIN10, FAN50, SINGLE, WIDE, Workload

DEEP = Workload("deep", "chain", steps=500, workflows=3, in_flight=1)
START = Workload("start", "start", steps=1, workflows=5_000, in_flight=32)

_READY = 40  # steps that can run at any moment, whatever the size: only the size differs between these
_GROW_STEPS = 4_000
GROW = tuple(
    Workload(
        f"grow-{width * depth}",
        "layered",
        steps=width * depth,
        workflows=_GROW_STEPS // (width * depth),
        in_flight=_READY // width,
        width=width,
    )
    for width, depth in ((2, 5), (5, 10), (10, 20), (20, 50), (40, 50))
)

PAYLOAD = tuple(
    Workload(f"payload-{name}", "chain", steps=3, workflows=workflows, in_flight=10, payload=size)
    for name, size, workflows in (
        ("100B", 100, 300),
        ("1KB", 1_000, 300),
        ("10KB", 10_000, 300),
        ("100KB", 100_000, 60),
        ("1MB", 1_000_000, 20),
    )
)

GROUPS: dict[str, tuple[Workload, ...]] = {
    "chain10": (CHAIN10,),
    "fan50": (FAN50,),
    "single": (SINGLE,),
    "wide": (WIDE,),
    "deep": (DEEP,),
    "grow": GROW,
    "start": (START,),
    "payload": PAYLOAD,
}


def chosen(names: Iterable[str]) -> tuple[Workload, ...]:
    """The workloads of these groups, each once; of all groups if none is named.

    Raises:
        KeyError: no group has this name.
    """
    groups = dict.fromkeys(names) or dict.fromkeys(GROUPS)
    return tuple(workload for name in groups for workload in GROUPS[name])


def shortened(workload: Workload, times: int = 5) -> Workload:
    """The same with fewer workflows: enough to see that it works, too few for figures."""
    return replace(workload, workflows=max(workload.in_flight, ceil(workload.workflows / times)))


def warm_up(workload: Workload) -> Workload:
    """What is run, and not counted, before the first round."""
    return shortened(workload, times=4)
