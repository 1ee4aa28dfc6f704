"""How often somebody may do something: so many times in any minute."""

import math
import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

WINDOW: Final = 60.0  # seconds
MOST_COUNTED: Final = 20_000


class Rates:
    """Counts by name, in a window that slides: what was done in the minute before counts by how much of it lies within
    the last 60 seconds. The names that are counted are bounded; those not heard of for longest are forgotten first.

    Each edge counts for itself. A library's counters in memory were no choice: they are not bounded, and every few hits
    walk through all there are.
    """

    def __init__(self, *, most: int = MOST_COUNTED, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: LRUCache[str, tuple[int, int, int]] = LRUCache(most)  # window's number, in it, in the one before

    def take(self, name: str, limit: int) -> int:
        """Count one more of ``name``; 0, or the seconds after which there is room for it, in which case it is not
        counted."""
        window, within, now, before = self._look(name)
        if before * (1 - within) + now + 1 <= limit:
            self._counts[name] = (window, now + 1, before)
            return 0
        return self._wait(limit, within, now, before)

    def full(self, name: str, limit: int) -> int:
        """What ``take`` would say, without counting."""
        _, within, now, before = self._look(name)
        return 0 if before * (1 - within) + now + 1 <= limit else self._wait(limit, within, now, before)

    def _look(self, name: str) -> tuple[int, float, int, int]:
        at = self._clock() / WINDOW
        window = math.floor(at)
        last, count, before = self._counts.get(name, (window, 0, 0))
        if last == window - 1:
            count, before = 0, count
        elif last != window:
            count, before = 0, 0
        return window, at - window, count, before

    @staticmethod
    def _wait(limit: int, within: float, now: int, before: int) -> int:
        """Seconds, whole and at least one, until ``before * (1 - within) + now + 1 <= limit``."""
        if now + 1 <= limit:
            windows = 1 - (limit - now - 1) / before - within
        else:
            windows = 1 - within + max(0.0, 1 - (limit - 1) / now)
        return max(1, math.ceil(windows * WINDOW))
