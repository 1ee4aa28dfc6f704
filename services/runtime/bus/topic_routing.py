"""Topic routing as AMQP 0-9-1 defines it: ``*`` stands for one word of a key, ``#`` for any number of words."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_REMEMBERED_KEYS = 10_000


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a binding's pattern takes messages of a routing key. Both are words joined by dots.

    The empty string has no words, so ``#`` matches it and ``*`` does not; ``a.`` has two, the second of them empty.
    """
    wanted, words = _words(pattern), _words(key)
    at = position = 0
    resume_at = resume_position = -1
    while position < len(words):
        if at < len(wanted) and wanted[at] == "#":
            resume_at, resume_position = at, position
            at += 1
        elif at < len(wanted) and wanted[at] in ("*", words[position]):
            at += 1
            position += 1
        elif resume_at >= 0:
            # The last ``#`` takes one word more, and matching goes on behind it.
            resume_position += 1
            at, position = resume_at + 1, resume_position
        else:
            return False
    return all(word == "#" for word in wanted[at:])


class TopicTable(Generic[T]):
    """The bindings of one exchange: from patterns to targets."""

    def __init__(self) -> None:
        self._bindings: dict[tuple[str, T], None] = {}
        self._remembered: dict[str, tuple[T, ...]] = {}

    def bind(self, pattern: str, target: T) -> None:
        self._bindings[pattern, target] = None
        self._remembered.clear()

    def remove(self, target: T) -> None:
        self._bindings = {binding: None for binding in self._bindings if binding[1] != target}
        self._remembered.clear()

    def targets(self, key: str) -> tuple[T, ...]:
        """Every target with a matching pattern, once, in the order they were bound."""
        found = self._remembered.get(key)
        if found is None:
            found = tuple(dict.fromkeys(target for pattern, target in self._bindings if topic_matches(pattern, key)))
            if len(self._remembered) >= _REMEMBERED_KEYS:
                self._remembered.clear()
            self._remembered[key] = found
        return found


def _words(text: str) -> list[str]:
    return text.split(".") if text else []
