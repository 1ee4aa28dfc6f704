"""What a look found to be wrong, and which of it has lasted long enough to be called a problem. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contracts.monitoring_health import HealthStatus, Problem, Severity

_ORDER = (Severity.CRITICAL, Severity.ERROR, Severity.WARNING)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at the moment of a look; the same ``code`` and ``subject`` at the next is the same thing.
    ``lasting``: it took its time already, so no more patience is needed."""

    code: str
    severity: Severity
    subject: str
    what: str
    what_to_do: str
    lasting: bool = False


class Problems:
    """Remembers since when each thing is found.

    Args:
        patience: seconds that something must be found for, at every look, before it is a problem.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[tuple[str, str], float] = {}

    def after(self, findings: Iterable[Finding], now: float) -> tuple[Problem, ...]:
        """The problems now, worst first; what was not found this time is forgotten."""
        found = {(one.code, one.subject): one for one in findings}
        # No later than now: clocks are set back.
        self._since = {key: min(self._since.get(key, now), now) for key in found}
        lasting = [
            problem_of(finding, self._since[key])
            for key, finding in found.items()
            if finding.lasting or now - self._since[key] >= self._patience
        ]
        return tuple(sorted(lasting, key=lambda one: (_ORDER.index(one.severity), one.since, one.subject)))


def status_of(problems: Iterable[Problem]) -> HealthStatus:
    """The whole in one word."""
    severities = {problem.severity for problem in problems}
    if Severity.CRITICAL in severities:
        return HealthStatus.DOWN
    return HealthStatus.DEGRADED if severities else HealthStatus.OK


def by_severity(problems: Iterable[Problem]) -> Mapping[Severity, int]:
    """How many there are of each severity, of every severity."""
    counted = Counter(problem.severity for problem in problems)
    return {severity: counted[severity] for severity in _ORDER}


def counted(count: int, one: str, more: str) -> str:
    """So many, in the right number: ``1 agent``, ``2 agents``."""
    return f"{count} {one if count == 1 else more}"


def problem_of(finding: Finding, since: float) -> Problem:
    return Problem(
        code=finding.code,
        severity=finding.severity,
        subject=finding.subject,
        what=finding.what,
        since=since,
        what_to_do=finding.what_to_do,
    )
