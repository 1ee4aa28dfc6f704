"""What fails again and again, as periodic work does while a server is away, without a line for each time."""

import re
import time
from collections.abc import Callable
from typing import Any, Final

EVERY: Final = 30.0  # seconds between lines that say nothing new
_MOST_KINDS: Final = 10  # of errors, in one go, that are said as soon as they come
_NUMBERS: Final = re.compile(r"\d+")


class Repeated:
    """Says a failure when it comes first, at once when it has another reason, else every ``EVERY`` seconds with how
    often it came and for how many seconds now; and once when it is over.

    Args:
        log: structlog's, of whoever meets the failure.
        what: fails; the event of the first line.
        still: the event of those that follow; if there is none, they have that of the first.
        over: the event of the last.
    """

    def __init__(
        self, log: Any, what: str, *, still: str = "", over: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._what = what
        self._still = still or what
        self._over = over
        self._clock = clock
        self._kinds: set[str] = set()
        self._failures = 0
        self._since = 0.0
        self._said_at = 0.0

    def failed(self, error: BaseException, **about: Any) -> None:
        """It failed with ``error``; ``about`` stands on the line, if one is written."""
        now = self._clock()
        self._failures += 1
        if self._failures == 1:
            self._since = now
        elif not self._is_new(error) and now - self._said_at < EVERY:
            return
        self._kinds.add(_kind(error))
        self._said_at = now
        if self._failures == 1:
            self._log.warning(self._what, error=_in_words(error), **about)
        else:
            self._log.warning(self._still, error=_in_words(error), **self._so_far(), **about)

    def worked(self, **about: Any) -> None:
        """It did not fail; to be called each time."""
        if not self._failures:
            return
        if self._over:
            self._log.info(self._over, **self._so_far(), **about)
        else:
            self._log.info("works again", after=self._what, **self._so_far(), **about)
        self._failures = 0
        self._kinds.clear()

    def _is_new(self, error: BaseException) -> bool:
        return len(self._kinds) < _MOST_KINDS and _kind(error) not in self._kinds

    def _so_far(self) -> dict[str, Any]:
        return {"failures": self._failures, "seconds": round(self._clock() - self._since, 1)}


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _kind(error: BaseException) -> str:
    """Its words but for numbers: seconds, ports and counts make no other reason."""
    return _NUMBERS.sub("", _in_words(error))
