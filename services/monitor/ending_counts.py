"""How many executions ended how, in slices of time, for windows of a minute to an hour. Pure; times are seconds."""

from typing import NamedTuple

from contracts.history import ExecutionStatus
from contracts.monitoring_health import WindowOfEnds
from services.monitor.unusual import Tally

WINDOWS = (60.0, 300.0, 900.0, 3_600.0)
FINE = 5.0  # seconds of a slice of the short windows
_FINE_FOR = 900.0


class Ends(NamedTuple):
    """How many ended, by how."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def tally(self) -> Tally:
        """Those that somebody cancelled say nothing about how well it works."""
        return Tally(self.completed + self.failed, self.failed)

    def window(self, seconds: float) -> WindowOfEnds:
        return WindowOfEnds(window=seconds, completed=self.completed, failed=self.failed, cancelled=self.cancelled)


_PLACES = {ExecutionStatus.COMPLETED: 0, ExecutionStatus.FAILED: 1, ExecutionStatus.CANCELLED: 2}


class Buckets:
    """Ends counted in slices of time of ``width`` seconds; the last ``most`` of them."""

    def __init__(self, width: float, most: int) -> None:
        self._width = width
        self._most = most
        self._counts: dict[int, list[int]] = {}

    def add(self, at: float, status: ExecutionStatus) -> None:
        self._counts.setdefault(int(at // self._width), [0, 0, 0])[_PLACES[status]] += 1
        if len(self._counts) > self._most:
            del self._counts[min(self._counts)]

    def between(self, after: float, until: float) -> Ends:
        """From the slice that follows the one of ``after`` to that of ``until``."""
        first, last = int(after // self._width), int(until // self._width)
        completed = failed = cancelled = 0
        for number, counted in self._counts.items():
            if first < number <= last:
                completed += counted[0]
                failed += counted[1]
                cancelled += counted[2]
        return Ends(completed, failed, cancelled)


class Slices:
    """Fine ones for the short windows, and others of ``width`` seconds for as long as ``kept``."""

    def __init__(self, width: float, kept: float) -> None:
        self._fine = Buckets(FINE, int(_FINE_FOR / FINE) + 2)
        self.coarse = Buckets(width, int(kept / width) + 2)

    def add(self, at: float, status: ExecutionStatus) -> None:
        self._fine.add(at, status)
        self.coarse.add(at, status)

    def windows(self, now: float) -> tuple[WindowOfEnds, ...]:
        """The short ones within some seconds, the hour within a slice of the coarse ones."""
        return tuple(
            (self._fine if seconds <= _FINE_FOR else self.coarse).between(now - seconds, now).window(seconds)
            for seconds in WINDOWS
        )
