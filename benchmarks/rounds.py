"""What every contestant of a benchmark is asked to run, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Workload:
    """``workflows`` in all, ``in_flight`` of them at a time.

    A ``chain`` has ``steps`` steps one after the other; a ``fan`` has one, then ``steps - 2`` side by side, then one
    that waits for them all. Every step echoes ``payload`` bytes and does no work of its own, so that what is measured
    is what it costs to have a step done.

    ``layered`` has layers of ``width`` steps, each waiting for two of the layer above it: its links grow as its steps
    do. ``start`` is one step, started through REST by ``in_flight`` connections.
    """

    name: str
    shape: str
    steps: int
    workflows: int
    in_flight: int
    payload: int = 100
    width: int = 1

    @property
    def total_steps(self) -> int:
        return self.steps * self.workflows


CHAIN10 = Workload("chain10", "chain", steps=10, workflows=300, in_flight=50)
FAN50 = Workload("fan50", "fan", steps=52, workflows=60, in_flight=10)
WIDE = Workload("wide", "fan", steps=1_002, workflows=3, in_flight=1)
SINGLE = Workload("single", "chain", steps=10, workflows=30, in_flight=1)
COMPARED = (CHAIN10, FAN50, WIDE, SINGLE)


@dataclass(frozen=True, slots=True)
class Round:
    """One run of one workload: the wall time of the whole in seconds, and each workflow's own in milliseconds."""

    workload: str
    steps: int
    seconds: float
    latencies_ms: Sequence[float]
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps_per_second(self) -> float:
        return self.steps / self.seconds


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of a session are; None for one that could not be had."""

    rabbitmq_url: str | None = None
    mongodb_url: str | None = None
    postgresql_url: str | None = None
    redis_url: str | None = None


class Contestant(Protocol):
    """A system that can run the workloads."""

    name: str

    def set_up(self) -> None:
        """Install what it needs, once; may take minutes the first time."""
        ...

    def start(self, servers: Servers) -> None:
        """Start its processes and wait until they are ready for work."""
        ...

    def run(self, workload: Workload) -> Round: ...

    def stop(self) -> None: ...

    def about(self) -> Mapping[str, str]:
        """Versions and settings, for the report."""
        ...
