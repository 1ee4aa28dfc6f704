"""How alike two names are, and which candidate is meant by a name. Pure functions."""

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True)
class Best:
    """The candidate most like a name; its place counts from 0. No candidate scores more than 0: None."""

    place: int | None
    score: float


def key_of(name: str, ignored: Collection[str] = ()) -> str:
    """A name without case, accents and punctuation, its words sorted, without those that say nothing (``gmbh``).

    Where nothing else would be left, the words that say nothing stay.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    words = re.findall(r"\w+", plain)
    return " ".join(sorted([word for word in words if word not in ignored] or words))


def similarity(one: str, other: str) -> float:
    """``2 * M / T``: M characters in matching blocks (Ratcliff and Obershelp, 1988), T characters of both together.

    From 0, nothing in common, to 1, the same. Depends a little on the order of the two, so it is taken in both, and
    the better one counts.
    """
    return max(SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in ((one, other), (other, one)))


def best_matches(
    names: Sequence[str],
    candidates: Sequence[str],
    ignored: Collection[str] = (),
    told: Callable[[int], None] = lambda done: None,
) -> list[Best]:
    """For each name the candidate most like it, the first of several. ``told`` is called with how many are done."""
    keys = [key_of(candidate, ignored) for candidate in candidates]
    found: list[Best] = []
    for name in names:
        found.append(_best(key_of(name, ignored), keys))
        told(len(found))
    return found


def _best(name: str, keys: Sequence[str]) -> Best:
    best = Best(None, 0.0)
    if not name:  # nothing but punctuation
        return best
    for place, key in enumerate(keys):
        score = 1.0 if key == name else similarity(name, key)
        if score > best.score:
            best = Best(place, score)
        if score == 1.0:
            break
    return best
