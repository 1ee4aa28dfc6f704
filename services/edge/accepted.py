"""Which of the forms that an answer may have its client wants (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Of the media types ``offered``, best first, the one that an ``Accept`` header gives the highest weight: the first
    of them if it names none, or cannot be read."""
    ranges = [_range(part) for part in accept.split(",")]
    return max(offered, key=lambda media_type: (_weight(media_type, ranges), -offered.index(media_type)))


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                weight = float(parameter[2:])
            except ValueError:
                weight = 0.0
    return name, weight


def _weight(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Of the most exact range that fits; 0 where none does."""
    for wanted in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        found = [weight for name, weight in ranges if name == wanted]
        if found:
            return found[0]
    return 0.0
