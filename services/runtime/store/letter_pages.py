"""How many dead letters one page holds: a few may be all that fits in a reader's memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.runtime.store.cursor import Cursor

KIND = "dead letters"
MAX_PAGE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a letter stands in the list, and how many bytes of JSON it is."""

    letter_id: str
    died_at: float
    size: int


def fitting(places: Sequence[Place], following: str | None) -> tuple[list[str], str | None]:
    """The ids of a page's letters, and the cursor of the next page if there is one.

    Args:
        places: those of a page, in order; the first fits whatever its size.
        following: the cursor of the next page where all of them fit.
    """
    size = 0
    for i, place in enumerate(places):
        size += place.size
        if i and size > MAX_PAGE_BYTES:
            last = places[i - 1]
            return [place.letter_id for place in places[:i]], Cursor(KIND, last.died_at, last.letter_id).encode()
    return [place.letter_id for place in places], following
