"""What an agent has done so far, by action: how often, how long it took, how often it failed."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Record:
    """Of one action. ``seconds`` is the sum over its successes."""

    succeeded: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def mean_seconds(self) -> float | None:
        """Of a success; None where there was none."""
        return self.seconds / self.succeeded if self.succeeded else None

    @property
    def success_rate(self) -> float:
        """By Laplace's rule of succession (1814), (successes + 1) / (runs + 2): 1/2 where nothing is known, and never
        quite 0 or 1."""
        return (self.succeeded + 1) / (self.succeeded + self.failed + 2)


@dataclass(slots=True)
class TrackRecord:
    """Since the agent was started in this process. ``in_progress`` counts the calls under way, of any action."""

    in_progress: int = 0
    _records: dict[str, Record] = field(default_factory=dict)

    def of(self, action: str) -> Record:
        return self._records.get(action, Record())

    def measured(self, action: str) -> "Measured":
        """Count the call within: its time if it ends well, a failure if it raises. A cancelled call is neither."""
        return Measured(self, action)

    def count(self, action: str) -> Record:
        """The record of an action, to be written on."""
        return self._records.setdefault(action, Record())


class Measured:
    """See ``TrackRecord.measured``. A class, since every call passes here and one costs a third of a generator."""

    __slots__ = ("_action", "_began", "_track")

    def __init__(self, track: TrackRecord, action: str) -> None:
        self._track = track
        self._action = action

    def __enter__(self) -> None:
        self._track.in_progress += 1
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._track.in_progress -= 1
        if kind is None:
            record = self._track.count(self._action)
            record.succeeded += 1
            record.seconds += time.perf_counter() - self._began
        elif issubclass(kind, Exception):  # which a cancellation is not
            self._track.count(self._action).failed += 1
