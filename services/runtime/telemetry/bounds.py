"""What keeps figures within bounds where somebody else says what is counted."""

from typing import Final

UNKNOWN: Final = "unknown"
"""Stands in a label for a value that others can make up without end."""

LONGEST: Final = 30 * 86_400.0
"""Seconds that anything is counted as having taken."""


def elapsed(seconds: float) -> float:
    """A time between two clocks, as it is counted: clocks differ, and who says when may say anything."""
    return seconds if 0.0 <= seconds <= LONGEST else min(max(0.0, seconds), LONGEST)
