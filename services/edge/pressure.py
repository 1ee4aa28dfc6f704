"""How much this edge takes on, and what it says when that is less than what is asked.

Three bounds, each before any work is done for a request: commands in hand, bytes of their bodies, and starts for which
the orchestrator has just said that there is no room. Requests that only wait for an agent are counted apart from
commands in hand, so that slow agents do not keep executions from being started.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from services.edge.problems import Problem
from services.runtime.pacing import SOONEST, Pace

FEWEST: Final = 32
SLOW_SECONDS: Final = 0.9  # an answer that takes longer means that more is under way than can be done in time
BODY_BYTES: Final = 64 * 1024 * 1024
_GROWTH, _SHRINKING = 0.5, 0.8
_SHRINKS_EVERY: Final = 0.2  # seconds
_CLOSED_FOR: Final = 0.25  # seconds that "no room" is believed before it is asked again


class Pressure:
    """What is in hand, and how it goes.

    At most ``most`` commands may be in hand. While answers are slow it is fewer: who is told at once to come later is
    better served than who waits and is told the same.
    """

    def __init__(self, most: int, *, body_bytes: int = BODY_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self.in_hand = 0
        self.bytes_in_hand = 0
        self.waiting = 0
        self.bytes_waiting = 0
        self._most = most
        self._body_bytes = body_bytes
        self._clock = clock
        self._window = float(most)
        self._shrunk_at = clock()
        self._closed_until = clock()
        self._hint = 0.0
        self._pace = Pace(clock)

    # ---- commands and their bodies

    @property
    def window(self) -> int:
        """How many commands may be in hand now."""
        return int(self._window)

    def enter(self) -> None:
        """Take a command in hand.

        Raises:
            Problem: there are as many as may be.
        """
        if self.in_hand >= self.window:
            raise self._problem(f"{self.in_hand} commands are under way, which is as many as may be; nothing was done")
        self.in_hand += 1

    def leave(self, held_bytes: int) -> None:
        self.in_hand -= 1
        self.bytes_in_hand -= held_bytes

    def hold(self, size: int) -> None:
        """Take ``size`` bytes of a body in hand.

        Raises:
            Problem: that would be more than may be.
        """
        if self.bytes_in_hand + size > self._body_bytes:
            raise self._problem(f"bodies in hand have {self.bytes_in_hand} bytes already; nothing was done")
        self.bytes_in_hand += size

    def answered(self, seconds: float) -> None:
        """A command was answered, in that time."""
        if seconds > SLOW_SECONDS:
            self._shrink()
        else:
            self._window = min(float(self._most), self._window + _GROWTH)

    def unanswered(self) -> None:
        self._shrink()

    # ---- waiting for agents

    @contextmanager
    def waiting_with(self, size: int) -> Iterator[None]:
        """A command in hand, with ``size`` bytes of body, only waits here: meanwhile its place is free for others. How
        long it takes says nothing about what this edge can do.

        Raises:
            Problem: as many wait already as may be in hand.
        """
        if self.waiting >= self._most or self.bytes_waiting + size > self._body_bytes:
            text = f"{self.waiting} requests wait for agents, which is as many as may be; nothing was sent"
            raise Problem("overloaded", text)
        self._move_to_waiting(1, size)
        try:
            yield
        finally:
            self._move_to_waiting(-1, -size)

    def _move_to_waiting(self, count: int, size: int) -> None:
        self.waiting += count
        self.bytes_waiting += size
        self.in_hand -= count
        self.bytes_in_hand -= size

    # ---- starts

    @property
    def starts_closed(self) -> bool:
        """Whether the orchestrator has said just now that there is no room."""
        return self._clock() < self._closed_until

    def started(self) -> None:
        self._pace.done()

    def no_room(self, retry_after: float | None) -> Problem:
        """The orchestrator says that there is no room; the others need not ask for a moment."""
        self._closed_until = self._clock() + _CLOSED_FOR
        self._hint = retry_after or 0.0
        return self.closed()

    def closed(self) -> Problem:
        """What is said to a start for which there is no room."""
        text = "as many executions are open as may be; nothing was stored, and the same request may be sent again later"
        return self._problem(text, self._hint)

    # ---- streams

    def too_many_streams(self, count: int) -> Problem:
        return self._problem(f"{count} event streams are open, which is as many as may be")

    def _problem(self, detail: str, hint: float = 0.0) -> Problem:
        self._pace.turned_away()
        return Problem("overloaded", detail, retry_after=max(self._pace.retry_after(SOONEST), round(hint)))

    def _shrink(self) -> None:
        now = self._clock()
        if now - self._shrunk_at >= _SHRINKS_EVERY:
            self._shrunk_at = now
            self._window = max(float(min(FEWEST, self._most)), min(self._window, self.in_hand) * _SHRINKING)
