"""Counts what a process sends and what it asks of its store. One addition a call: too little to be seen."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from services.runtime.bus.base import Bus, Frame
from services.runtime.store.base import Store

MESSAGES, BYTES, STORE_CALLS, STORE_ITEMS = "messages", "message_bytes", "store_calls", "store_items"
_NOT_COUNTED = ("start", "stop", "ping")


class Counts:
    """What a process has done since it began: ``{kind: {name: number}}``.

    ``messages`` by message type, as handed to the bus to publish, and their ``message_bytes``; ``store_calls`` by the
    store's method, and ``store_items``, the number of things that a call was given where it takes several.
    """

    def __init__(self) -> None:
        self._by_kind: dict[str, Counter[str]] = {
            kind: Counter() for kind in (MESSAGES, BYTES, STORE_CALLS, STORE_ITEMS)
        }

    def bus(self, bus: Bus) -> Bus:
        """The same bus, counted."""
        return cast(Bus, _Counted(bus, {"publish": self._published}))

    def store(self, store: Store) -> Store:
        """The same store, counted."""
        methods = [name for name in vars(Store) if not name.startswith("_") and name not in _NOT_COUNTED]
        return cast(Store, _Counted(store, {name: self._asker(name) for name in methods}))

    def totals(self) -> dict[str, dict[str, int]]:
        return {kind: dict(counter) for kind, counter in self._by_kind.items()}

    def _published(self, frames: Sequence[Frame]) -> None:
        messages, sizes = self._by_kind[MESSAGES], self._by_kind[BYTES]
        for frame in frames:
            messages[frame.type] += 1
            sizes[frame.type] += len(frame.body)

    def _asker(self, method: str) -> Callable[..., None]:
        calls, items = self._by_kind[STORE_CALLS], self._by_kind[STORE_ITEMS]

        def note(*arguments: Any, **_: Any) -> None:
            calls[method] += 1
            given = arguments[0] if arguments else None
            items[method] += len(given) if isinstance(given, list | tuple | dict | set | frozenset) else 1

        return note


class _Counted:
    """Stands for ``target``; each call of a noted method is told to its note first."""

    def __init__(self, target: Any, notes: dict[str, Callable[..., None]]) -> None:
        self._target = target
        for name, note in notes.items():
            setattr(self, name, _noted(getattr(target, name), note))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def _noted(method: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        note(*arguments, **named)
        return method(*arguments, **named)  # a coroutine, for the caller to await

    return call
