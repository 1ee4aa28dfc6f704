"""From what came over the wire to what a page shows: cut where it is long, with the moments of one day, and without
what belongs to one machine or is secret."""

import re
import socket
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scripts.api_pages.comparing import CUT, WITHIN

MOST_ITEMS = 2
MOST_MEMBERS = 24
LONGEST_TEXT = 600
# What the first moment of the examples is shown as.
EPOCH: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
_NEAR: Final = 400 * 86_400.0  # seconds around now: a number within them is a time
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_SECRET: Final = re.compile(r"(ck_[a-z0-9]{12})_[A-Za-z0-9_-]{43}")
_NOT_SHOWN: Final = "_".join(["not", "shown", "here"] * 3)[:43].ljust(43, "_")
_PORT: Final = re.compile(r"127\.0\.0\.1:\d+")

RULES: Final = (
    f"Answers are as they came, and shortened by rule: of a list the first {MOST_ITEMS} items, of an object the first"
    f" {MOST_MEMBERS} members, of a text the first {LONGEST_TEXT:,} characters, with `{CUT.strip()}` and how much more"
    f" there is; `{WITHIN}` stands for an object too deep inside to matter here. The secret of a key is replaced, times"
    f" begin at {EPOCH:%Y-%m-%dT%H:%M:%SZ}, and yours differ, as ids and durations do. Of a stream of events the first"
    " few are shown."
)


def cut(value: Any, depth: int = 99) -> Any:
    """The value with what is long left out; ``depth``: how many levels of objects are shown."""
    if isinstance(value, dict):
        if depth == 0:
            return WITHIN if value else {}
        shown = {key: cut(one, depth - 1) for key, one in list(value.items())[:MOST_MEMBERS]}
        if len(value) > MOST_MEMBERS:
            shown["…"] = f"{CUT}{len(value) - MOST_MEMBERS} more members"
        return shown
    if isinstance(value, list):
        listed = [cut(one, depth) for one in value[:MOST_ITEMS]]
        return [*listed, f"{CUT}{len(value) - MOST_ITEMS} more"] if len(value) > MOST_ITEMS else listed
    return cut_text(value) if isinstance(value, str) else value


def cut_text(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} {CUT}{len(text) - LONGEST_TEXT:,} more"


class Cleaner:
    """For all examples of one run: ``began``, in epoch seconds, is shown as ``EPOCH``."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._shift = EPOCH.timestamp() - began
        self._host = socket.gethostname()

    def clean(self, value: Any) -> Any:
        match value:
            case dict():
                return {key: self.clean(one) for key, one in value.items()}
            case list():
                return [self.clean(one) for one in value]
            case str():
                return self.text(value)
            case int() | float() if not isinstance(value, bool) and abs(value - self._began) < _NEAR:
                return round(value + self._shift, 3)
        return value

    def text(self, text: str) -> str:
        if text == self._host:
            return "host-1"
        text = _SECRET.sub(rf"\1_{_NOT_SHOWN}", text)
        text = _PORT.sub("127.0.0.1:8000", text)
        return _ISO.sub(self._shifted, text)

    def _shifted(self, found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0])
        if abs(moment.timestamp() - self._began) > _NEAR:
            return found[0]
        shifted = moment + timedelta(seconds=self._shift)
        return shifted.strftime("%Y-%m-%dT%H:%M:%S") + (f".{shifted.microsecond:06d}" if "." in found[0] else "") + "Z"
