"""What an example shows, held against what came when it was run again.

Both have the same shape, and the same values but for what no two runs have in common: times and durations, which only
have to be some; and ids, of which each that is shown stands for one and the same that came, throughout.
"""

import re
from collections.abc import Iterator
from typing import Any

CUT = "… "  # how that begins which stands for what is left out
WITHIN = "{…}"  # stands for an object that is left out
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"
_ID = r"(?<![0-9a-z])[0-9a-f]{32,64}(?:-\d+)?(?![0-9a-z])"  # of a result: the run, and how many it had
_KEY = r"ck_[a-z0-9]{12}(?:_[A-Za-z0-9_-]{43})?"
_HOST = r"(?<=[a-z]-)[0-9a-f]{8}(?![0-9a-z])"
_PORT = r"(?<=127\.0\.0\.1:)\d+"
_DURATION = r"\d+(?:\.\d+)?(?= m?s\b)"
_CURSOR = ".next"  # of a list: its place, in which there are times
CHANGING = re.compile("|".join((_TIME, _ID, _KEY, _HOST, _PORT, _DURATION)))
_IDS = re.compile("|".join((_ID, _KEY, _HOST)))
# Numbers that are about time, by how their names end.
_OF_TIME = re.compile(
    r"(seconds|duration|_at|^at|deadline|due|timestamp|until|uptime|age|silent_for|heard_for|last_seen|since)$"
)


class Comparison:
    """Of any number of examples that belong to one story: ``seen`` is what an id that is shown is called this time."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def differences(self, shown: Any, came: Any, *, figures: bool = False, place: str = "body") -> Iterator[str]:
        """What is not as it is shown, in words. ``figures``: it is about how a system does at the moment; then only
        the shape counts."""
        if _left_out(shown):
            return
        if isinstance(shown, dict) and isinstance(came, dict):
            yield from self._of_objects(shown, came, figures, place)
        elif isinstance(shown, list) and isinstance(came, list):
            yield from self._of_lists(shown, came, figures, place)
        elif isinstance(shown, str) and isinstance(came, str):
            if not figures and not place.endswith(_CURSOR) and not self._is_text(shown, came):
                yield f"{place}: {shown!r} is shown, {came!r} came"
        elif shown != came and not self._may_differ(shown, came, figures, place):
            yield f"{place}: {shown!r} is shown, {came!r} came"

    def renamed(self, text: str) -> str:
        """A text that is shown, with ids as they are this time."""
        return _IDS.sub(lambda found: self.seen.get(found[0], found[0]), text)

    def _of_objects(self, shown: dict[str, Any], came: dict[str, Any], figures: bool, place: str) -> Iterator[str]:
        cut = any(key.startswith("…") for key in shown)
        listed = {key for key in shown if not key.startswith("…")}
        if figures and _is_map_of_names(shown, came):
            return
        if listed - came.keys() or (came.keys() - listed and not cut):
            yield f"{place}: members {sorted(listed)} are shown, {sorted(came)} came"
        for key in sorted(listed & came.keys()):
            yield from self.differences(shown[key], came[key], figures=figures, place=f"{place}.{key}")

    def _of_lists(self, shown: list[Any], came: list[Any], figures: bool, place: str) -> Iterator[str]:
        cut = bool(shown) and isinstance(shown[-1], str) and shown[-1].startswith(CUT)
        listed = shown[:-1] if cut else shown
        fits = len(came) > len(listed) if cut else len(came) == len(listed)
        if not figures and not fits:
            yield f"{place}: {len(listed)} items{' and more' if cut else ''} are shown, {len(came)} came"
        for i, (one, other) in enumerate(zip(listed, came, strict=False)):
            yield from self.differences(one, other, figures=figures, place=f"{place}[{i}]")

    def _is_text(self, shown: str, came: str) -> bool:
        shown, cut, _ = shown.partition(f" {CUT}")
        if cut:
            # What follows the place of the cut is not compared, and how long what changes is may move that place.
            shown, came = shown[:-20], came[: len(shown) - 20]
        return CHANGING.sub("", shown) == CHANGING.sub("", came) and all(
            self._stands_for(one, other)
            for one, other in zip(CHANGING.findall(shown), CHANGING.findall(came), strict=False)
        )

    def _stands_for(self, shown: str, came: str) -> bool:
        if not _IDS.fullmatch(shown) and not _IDS.search(f"a-{shown}"):
            return True
        return self.seen.setdefault(shown, came) == came

    @staticmethod
    def _may_differ(shown: Any, came: Any, figures: bool, place: str) -> bool:
        numbers = _is_number(shown) and _is_number(came)
        name = re.sub(r"\[\d+\]$", "", place).rpartition(".")[2]
        if numbers and (figures or _OF_TIME.search(name)):
            return True
        return figures and (shown is None or came is None or type(shown) is type(came))


def _left_out(shown: Any) -> bool:
    return isinstance(shown, str) and (shown == WITHIN or shown.startswith(CUT))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_map_of_names(shown: dict[str, Any], came: dict[str, Any]) -> bool:
    """Whether an object's members are no fields but names of what there is at the moment, such as statuses counted."""
    values = [*shown.values(), *came.values()]
    return shown.keys() != came.keys() and all(_is_number(value) or isinstance(value, dict) for value in values)
