"""A file that is read again when it has changed, so that keys are exchanged while services run."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from services.runtime.settings import BadSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")

EVERY = 2.0  # seconds between two looks at the file


class WatchedFile(Generic[T]):
    """What ``read`` makes of a file. Where a changed file cannot be read, or is gone, what was read before stays in
    force and an error is logged: half-written keys must not stop the traffic.

    Args:
        clock: seconds that only grow.

    Raises:
        BadSettings: from ``read``, the first time.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._read = read
        self._clock = clock
        self._stamp = _stamp(path)
        self._value = read(path)
        self._next_look = clock() + EVERY

    @property
    def value(self) -> T:
        """As the file was a few seconds ago at most."""
        if self._clock() >= self._next_look:
            self.look()
        return self._value

    def look(self) -> T:
        """As the file is now."""
        self._next_look = self._clock() + EVERY
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._value = self._read(self.path)
            except BadSettings as error:
                log.error("changed file cannot be used, what it said before stays in force", error=str(error))
            else:
                log.info("file read again", path=str(self.path))
        return self._value


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """Another one for other contents, also where the file is replaced by a link to another, and for other permissions:
    a file that was refused for those is read once they are mended."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
