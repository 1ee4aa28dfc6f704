"""When to come back: an estimate from how fast things get done and how many are being turned away."""

import math
import time
from collections.abc import Callable

SOONEST, LATEST = 1, 60  # seconds
_MEMORY = 5.0  # seconds after which what was counted weighs a third


class Pace:
    """Counts what was done and what was turned away, and forgets both at the same speed.

    If everyone who was turned away lately came back at once, it would take ``turned away / done`` times as long to
    serve them as it took them to arrive. So that is when they are asked to come: ten times more than can be done is
    spread over ten seconds for each second of it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._done = 0.0
        self._turned_away = 0.0

    def done(self, count: float = 1) -> None:
        self._forget()
        self._done += count

    def turned_away(self) -> None:
        self._forget()
        self._turned_away += 1

    def retry_after(self, unknown: int = LATEST) -> int:
        """Whole seconds, from 1 to 60; ``unknown`` where nothing was done lately."""
        self._forget()
        if self._done < 0.5:
            return unknown
        if self._turned_away <= self._done * SOONEST:
            return SOONEST
        return min(LATEST, math.ceil(self._turned_away / self._done))

    def _forget(self) -> None:
        now = self._clock()
        kept = math.exp((self._at - now) / _MEMORY)
        self._at = now
        self._done *= kept
        self._turned_away *= kept
