"""How long, as people write it."""

import re

UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_DURATION = re.compile(r"(\d{1,9})([smhdw])")


class BadDuration(ValueError):
    """No duration, or one that is not allowed here."""


def seconds_in(text: str, *, least: float, most: float) -> float:
    """
    Raises:
        BadDuration: saying what is allowed; ``least`` and ``most`` are seconds.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise BadDuration(f"{text!r} is no duration: a whole number and s, m, h, d or w, for example 90m or 30d")
    seconds = int(found[1]) * UNITS[found[2]]
    if not least <= seconds <= most:
        raise BadDuration(f"{text} is not from {in_words(least)} to {in_words(most)}")
    return seconds


def in_words(seconds: float) -> str:
    """In the largest unit in which it is whole; parts of a second are left out."""
    whole = int(seconds)
    for unit, length in reversed(UNITS.items()):
        if whole % int(length) == 0 and (whole or unit == "s"):
            return f"{whole // int(length)}{unit}"
    raise AssertionError("seconds are whole seconds")
