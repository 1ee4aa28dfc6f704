"""Whether something fails more often than usual, or than chance makes of the usual. Pure."""

import math
from dataclasses import dataclass

LEAST_FAILED = 3  # fewer failures are never called unusual
LEAST_MORE = 0.05  # of all: so much more often than usual, at the least, however many were counted
CHANCE = 0.001  # what happens by chance with a probability below this is not put down to chance
MENDED = 0.01  # what succeeds so often in a row that it could still fail as before with a probability below this

_EXPECTED = 0.05  # the share that is taken to fail usually where nothing is known
_WEIGHT = 20  # of that expectation, as if so many had been counted


@dataclass(frozen=True, slots=True)
class Tally:
    """How many were counted, and how many of them failed."""

    count: int = 0
    failed: int = 0

    @property
    def rate(self) -> float | None:
        return self.failed / self.count if self.count else None

    def without(self, others: "Tally") -> "Tally":
        """The rest, where ``others`` are among these; nothing less, where they are not."""
        count = max(0, self.count - others.count)
        return Tally(count, min(count, max(0, self.failed - others.failed)))


def usual_rate(before: Tally) -> float:
    """The share that usually fails, by what was counted before; few counts weigh little."""
    return (before.failed + _EXPECTED * _WEIGHT) / (before.count + _WEIGHT)


def is_unusual(recent: Tally, usual: float) -> bool:
    """Whether so many failures are more than chance makes of a ``usual`` share (above 0).

    The probability of as many or more is at most exp(-n D), where D is the relative entropy of the share found and the
    usual one (Chernoff and Hoeffding), so a finding is never rarer than it claims to be.
    """
    found = recent.rate
    if found is None or recent.failed < LEAST_FAILED or found < usual + LEAST_MORE:
        return False
    return recent.count * _relative_entropy(found, usual) > -math.log(CHANCE)


def is_worse(recent: Tally, worst: Tally, usual: float) -> bool:
    """Whether this shows better than the worst so far that more fails than usual."""
    if not is_unusual(recent, usual):
        return False
    return (recent.rate or 0.0, recent.failed) > (worst.rate or 0.0, worst.failed)


def in_words(worst: Tally, recent: Tally, what: str, *, usual: float) -> str:
    """The evidence: what was found at the worst, what was usual before, and the latest if that differs."""
    said = f"{worst.failed} of {worst.count} {what} failed; usual were {100 * usual:.1f} %"
    return said if recent == worst else f"{said}. Of the latest {recent.count}, {recent.failed} failed"


def is_mended(failed: float, successes_in_a_row: int) -> bool:
    """Whether something that failed at this share would hardly succeed so often in a row. What failed every time must
    succeed more than once, too."""
    return (1.0 - min(failed, 0.9)) ** successes_in_a_row < MENDED


def _relative_entropy(found: float, usual: float) -> float:
    usual = min(usual, 1.0 - 1e-9)
    some = found * math.log(found / usual)
    return some if found == 1.0 else some + (1.0 - found) * math.log((1.0 - found) / (1.0 - usual))
