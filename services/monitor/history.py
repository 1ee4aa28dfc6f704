"""How the totals were: often for the last minute, ever less often the longer ago."""

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass

EVERY = 4.0  # seconds between two snapshots: less than between two reports of a process, by default
SPACING = ((70.0, 5.0), (330.0, 20.0), (990.0, 60.0), (math.inf, 180.0))
"""Up to that age, in seconds, snapshots are kept about that far apart: a window begins at one that may be that much
older than it."""
REACH = 3600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The totals at every moment from ``since`` to ``until``: nothing was added between these."""

    since: float
    until: float
    totals: "array[float]"


class History:
    """Begins empty at ``began``. It keeps at most 100 snapshots, mostly 50: of three that follow each other, the
    outer two are further apart than the spacing at their age."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._snapshots = [Snapshot(began, began, array("d"))]

    def __len__(self) -> int:
        return len(self._snapshots)

    @property
    def reaches_to(self) -> float:
        """What happened before is in every snapshot."""
        return self._snapshots[0].since

    @property
    def remembered(self) -> list["array[float]"]:
        return [snapshot.totals for snapshot in self._snapshots]

    def is_due(self, now: float) -> bool:
        return now - self._snapshots[-1].until >= EVERY

    def remember(self, totals: "array[float]", since: float, now: float) -> None:
        """Keep a copy of the totals, which did not change from ``since`` until now."""
        self._snapshots.append(Snapshot(since, now, totals[:]))
        self._thin(now)

    def at(self, moment: float) -> tuple["array[float]", float]:
        """The totals as they were then, or a little before, or when it began; and when that was."""
        found = bisect_right(self._snapshots, moment, key=lambda snapshot: snapshot.since) - 1
        snapshot = self._snapshots[max(found, 0)]
        return snapshot.totals, min(max(moment, snapshot.since), snapshot.until)

    def _thin(self, now: float) -> None:
        kept: list[Snapshot] = []
        for i, snapshot in enumerate(self._snapshots):
            following = self._snapshots[i + 1] if i + 1 < len(self._snapshots) else None
            if following is None:
                kept.append(snapshot)
            elif following.since <= now - REACH:
                continue  # the next one reaches far enough back
            elif not kept or following.since - kept[-1].until > _spacing(now - snapshot.until):
                kept.append(snapshot)
        self._snapshots = kept


def _spacing(age: float) -> float:
    return next(spacing for limit, spacing in SPACING if age <= limit)
