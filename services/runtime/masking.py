"""Secrets in what is shown, logged and reported: ``***`` stands for each.

Three degrees, for what is looked at:

- ``masked``: by the names they stand under and by their shape. For what is ours to show: configurations, dead letters,
  the details of errors, log lines, the audit log.
- ``masked_text``: by shape. For texts: messages of errors and of logs.
- ``without_keys``: only what is a secret beyond doubt, private keys in PEM and API keys of Conclave itself. For users'
  data: the inputs and outputs of steps, which are shown as they are but for these.

What is stored or sent on as data is never altered.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from services.runtime import secret_shapes
from services.runtime.secret_names import names_a_secret
from services.runtime.secret_shapes import MASK, Masking

__all__ = ["MASK", "masked", "masked_text", "names_a_secret", "without_keys"]

# What can be sent nests less; something else, of a log line say, may hold itself.
DEEPEST = 150
TOO_DEEP = "..."
_SHORTEST_KEY = 30


def masked(value: Any) -> Any:
    """A copy with ``***`` for what stands under a name that says it is secret, and for secrets in every text."""
    return _Copy(secret_shapes.without_secrets, by_name=True).of(value, DEEPEST)


def masked_text(text: str) -> str:
    """The text with ``***`` for what has the shape of a secret: ``password=...``, a URL's password, a token, a key."""
    return secret_shapes.without_secrets(text)


def without_keys(value: Any) -> Any:
    """The value itself where nothing in it is a secret beyond doubt, else a copy with ``***`` for what is."""
    if isinstance(value, Mapping | list | tuple) and not _may_hold_keys(value):
        return value
    return _Copy(secret_shapes.without_keys, by_name=False).of(value, DEEPEST)


def _may_hold_keys(value: Any) -> bool:
    """Outputs may be large, and looking through their JSON takes a twentieth of the time of a walk."""
    try:
        return secret_shapes.may_hold_keys(to_json(value, fallback=str))
    except ValueError:  # no JSON: it is walked through
        return True


def _is_plain(key: str) -> bool:
    return len(key) < _SHORTEST_KEY and key.isidentifier()


class _Copy:
    """Copies what changes and keeps what does not."""

    def __init__(self, text: Masking, *, by_name: bool) -> None:
        self._text = text
        self._by_name = by_name

    def of(self, value: Any, levels: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, Mapping | list | tuple):
            return value
        if levels == 0:
            return TOO_DEEP
        if isinstance(value, Mapping):
            return self._object(value, levels - 1)
        parts = [self.of(part, levels - 1) for part in value]
        changed = any(new is not old for new, old in zip(parts, value, strict=True))
        return parts if changed or isinstance(value, tuple) else value

    def _object(self, value: Mapping[Any, Any], levels: int) -> Mapping[Any, Any]:
        copy: dict[Any, Any] = {}
        changed = False
        for key, part in value.items():
            shown = self._text(key) if isinstance(key, str) and not _is_plain(key) else key
            if (
                self._by_name
                and part is not None
                and isinstance(key, str)
                and (names_a_secret(key) or names_a_secret(shown))
            ):
                below: Any = MASK
            else:
                below = self.of(part, levels)
            changed = changed or shown is not key or below is not part
            copy[shown] = below
        return copy if changed else value
