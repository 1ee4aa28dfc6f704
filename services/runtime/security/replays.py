"""Which messages came before. Pure: the time is given."""

import hashlib
from collections import deque

REMEMBERED = 500_000  # messages; about 50 MB


class Replays:
    """Remembers what came to one process, in memory and up to a number: the oldest are forgotten first.

    A publication is a message's id together with when, by which key and for which address it was signed, and the queue
    it came to: a message that its sender signs and publishes again is another publication, and one that goes to several
    queues comes to each for the first time.

    Args:
        window: seconds after a publication was first seen in which it may come again.
        lasting: seconds after which it need not be remembered any more, because it is too old to be taken.
    """

    def __init__(self, window: float, lasting: float, limit: int = REMEMBERED) -> None:
        self._window = window
        self._lasting = lasting
        self._limit = limit
        self._first_seen: dict[int, int] = {}
        self._in_order: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._first_seen)

    def is_replay(self, queue: str, publication: bytes, now: float, *, redelivered: bool) -> bool:
        """Whether it was first seen before the window, and the broker does not say that it delivers it once more.
        It is remembered from now on."""
        name = queue.encode("utf-8", "replace")
        digest = hashlib.blake2b(len(name).to_bytes(4, "big") + name + publication, digest_size=8).digest()
        key = int.from_bytes(digest, "big")
        first_seen = self._first_seen.get(key)
        if first_seen is not None:
            return now - first_seen > self._window and not redelivered
        self._forget(now)
        self._first_seen[key] = int(now)
        self._in_order.append(key)
        return False

    def _forget(self, now: float) -> None:
        """What is too old, a little at a time, and the oldest where there is no room."""
        for _ in range(2):
            if not self._in_order:
                return
            oldest = self._in_order[0]
            if len(self._first_seen) < self._limit and now - self._first_seen[oldest] <= self._lasting:
                return
            del self._first_seen[self._in_order.popleft()]
