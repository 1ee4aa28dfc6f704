"""One log line: from what was said, and by whose work, to a text without secrets.

No text that somebody sent can end a line and begin another, and no value, whatever it is, can cost the line.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

import structlog
from pydantic_core import to_json

from services.runtime.correlation import in_hand
from services.runtime.masking import MASK, masked, masked_text
from services.runtime.secret_names import names_a_secret

Event = dict[str, Any]
Shown = Callable[[Event], str]

LONGEST_VALUE: Final = 16_000  # characters of one field; what is longer is cut
_OURS: Final = frozenset(("timestamp", "level", "service"))  # nobody else says these
_TRACEBACKS: Final = ("exception", "stack")
_LEVELS: Final = 6  # of nested values that are shown
_LARGEST: Final = 2**64
_SHORT: Final = 100  # characters
_REMEMBERED: Final = 4_096
# Control characters, C1 among them, and what some viewers take for the end of a line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_BUT_LINE_ENDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class LogLine:
    """The one processor of structlog's chain: gives the text of a line. ``service`` is for work that says no service of
    its own."""

    def __init__(self, service: str, show: Shown) -> None:
        self._service = service
        self._show = show
        self._masks = _Masks()

    def __call__(self, _: Any, method: str, said: Any) -> str:
        held = in_hand()
        ours = {
            "timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": method,
            "service": held.get("service", self._service),
        }
        try:
            # What the line itself says goes before what is in hand, and nothing before what is ours.
            line = {**ours, "event": "", **held, **said}
            if "exc_info" in line:
                _put_tracebacks_into_words(line)
            return self._show({**self._masks.over(line), **ours})
        except Exception as error:
            # A value somebody logged must neither cost the line nor fail the work that it was about.
            return self._show({**ours, "event": "a log line cannot be shown", "fault": type(error).__name__})


class _Masks:
    """Masks the fields of lines, and remembers short texts in which there was nothing to mask: most fields say the same
    as on other lines."""

    def __init__(self) -> None:
        self._harmless: set[str] = set()
        self._plain_names: set[str] = set()

    def over(self, line: Event) -> Event:
        """Every field without its secrets: by its name, by its shape, and in the words of objects and exceptions."""
        harmless, plain = self._harmless, self._plain_names
        for name, value in line.items():
            if name not in plain:
                if name in _OURS:
                    continue
                if self._names_a_secret(name):
                    line[name] = MASK if value is not None else None
                    continue
            kind = type(value)
            if kind is str:
                # By its length first: finding a text in a set reads all of it.
                if len(value) > _SHORT or value not in harmless:
                    line[name] = self._short(value) if len(value) <= _SHORT else _shown(value)
            elif kind is not bool:
                line[name] = _shown(value)
        return line

    def _names_a_secret(self, name: str) -> bool:
        found = names_a_secret(name)
        if not found and len(name) <= _SHORT:
            if len(self._plain_names) >= _REMEMBERED:
                self._plain_names.clear()
            self._plain_names.add(name)
        return found

    def _short(self, text: str) -> str:
        shown = masked_text(text)
        if shown == text:
            if len(self._harmless) >= _REMEMBERED:
                self._harmless.clear()
            self._harmless.add(text)
        return shown


def as_json(line: Event) -> str:
    """In ASCII, with every control character escaped."""
    try:
        text = to_json(line).decode()
        if text.isascii() and "\x7f" not in text:
            return text
    except ValueError:  # half of a surrogate pair, an integer of thousands of digits
        pass
    return json.dumps(line, default=str, separators=(",", ":"))


def console(*, colors: bool) -> Shown:
    """For people: control characters are spelt out, and a traceback's lines are indented, so that no text looks like a
    line of its own. (JSON does this by itself.)"""
    # A plain traceback: the console's own shows local variables, passwords among them.
    render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def show(line: Event) -> str:
        return str(render(None, line["level"], {_spelt(name): _on_a_console(name, line[name]) for name in line}))

    return show


def _on_a_console(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name in _TRACEBACKS:
        lines = _CONTROL_BUT_LINE_ENDS.sub(_spelt_out, value).split("\n")
        return "\n".join(f"    {line}" for line in lines)
    return _spelt(value)


def _spelt(text: str) -> str:
    return _CONTROL.sub(_spelt_out, text)


def _spelt_out(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _put_tracebacks_into_words(line: Event) -> None:
    if line.get("exc_info") is not None:
        structlog.processors.format_exc_info(None, "", line)
    line.pop("exc_info", None)


def _shown(value: Any) -> Any:
    if _is_json(value):
        return value
    if isinstance(value, dict | list | tuple):
        # What stands in it may be of any class: the renderer asks for its words, in which a secret may stand.
        return _cut(masked(_plain(value, _LEVELS)))
    # Cut afterwards: half of a secret has no shape.
    return _cut(masked_text(_words_of(value)))


def _plain(value: Any, levels: int) -> Any:
    if _is_json(value):
        return value
    if levels and isinstance(value, dict):
        return {str(key): _plain(below, levels - 1) for key, below in value.items()}
    if levels and isinstance(value, list | tuple):
        return [_plain(below, levels - 1) for below in value]
    return _words_of(value)


def _is_json(value: Any) -> bool:
    """Not every number is: whoever reads the line need not take those without end, or with thousands of digits."""
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, int):
        return -_LARGEST <= value <= _LARGEST
    return value is None


def _words_of(value: Any) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except Exception as error:  # a fault in somebody's __str__ must not cost the line
        return f"a {type(value).__name__} that cannot be put into words: {type(error).__name__}"


def _cut(value: Any) -> Any:
    """In the middle, since a traceback ends with what went wrong."""
    if isinstance(value, dict):
        return {key: _cut(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_cut(below) for below in value]
    if not isinstance(value, str) or len(value) <= LONGEST_VALUE:
        return value
    half = LONGEST_VALUE // 2
    return f"{value[:half]} ... {len(value) - LONGEST_VALUE} characters more ... {value[-half:]}"
