"""How executions end: counted by workflow and window, and which workflows fail more often than usual. Pure."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cachetools import LRUCache

from contracts.history import ExecutionStatus
from contracts.monitoring_health import EndedExecution, WindowOfEnds, WorkflowView
from services.monitor.ending_counts import FINE, WINDOWS, Buckets, Ends, Slices
from services.monitor.unusual import Tally, is_mended, is_unusual, is_worse, usual_rate

_WORKFLOWS = 500  # remembered; clients make up names of workflows as they like
_LATEST = 100  # ends of one workflow that are kept one by one
_SEEN = 50_000  # ids of executions, of which an end may be told again
_FAILURES = 50
_SLOWEST = 20
_SLOWEST_OF = 3_600.0  # seconds
_EPISODES = 10  # of one workflow, in which it failed more often than usual

Key = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class Failing:
    """Since when a workflow fails more often than ``usual`` (what it was before), and how it was at its ``worst``."""

    since: float
    usual: float
    worst: Tally

    def after(self, recent: Tally) -> "Failing":
        """Only what is unusual shows that it fails."""
        return replace(self, worst=recent) if is_worse(recent, self.worst, self.usual) else self


class _End(NamedTuple):
    """As much of an end as is needed to judge its workflow; ``kinds`` are the types of its errors."""

    at: float
    status: ExecutionStatus
    duration: float | None
    kinds: tuple[str, ...]


class _Episode(NamedTuple):
    """A time in which a workflow failed more often than usual: it says nothing about what is usual."""

    began: float
    ended: float


@dataclass(slots=True)
class _Workflow:
    slices: Slices
    episodes: deque[_Episode] = field(default_factory=lambda: deque(maxlen=_EPISODES))
    latest: deque[_End] = field(default_factory=lambda: deque(maxlen=_LATEST))
    failing: Failing | None = None
    counted_from: float = 0.0
    successes_in_a_row: int = 0
    ended_at: float = 0.0


class EndingRates:
    """Every end once, however often it is told.

    Args:
        recent: seconds of which the ends are held against those before.
        usual: seconds before, from which it is known what is usual.
    """

    def __init__(self, recent: float, usual: float) -> None:
        self._recent = recent
        self._usual = usual
        self._seen: LRUCache[str, None] = LRUCache(_SEEN)
        self._workflows: OrderedDict[Key, _Workflow] = OrderedDict()  # the one that ended something last is last
        self._all = Buckets(FINE, int(WINDOWS[-1] / FINE) + 2)
        self._failures: deque[EndedExecution] = deque(maxlen=_FAILURES)
        self._slowest: list[EndedExecution] = []
        self._changed: set[Key] = set()

    def ended(self, end: EndedExecution) -> bool:
        """Count an end; False if it was counted before."""
        if end.execution_id in self._seen:
            return False
        self._seen[end.execution_id] = None
        key = (end.workflow_id, end.workflow_name)
        workflow = self._workflow(key)
        workflow.latest.append(_End(end.at, end.status, end.duration, tuple(set(end.errors.values()))))
        workflow.slices.add(end.at, end.status)
        workflow.ended_at = max(workflow.ended_at, end.at)
        if end.status is ExecutionStatus.COMPLETED:
            workflow.successes_in_a_row += 1
        elif end.status is ExecutionStatus.FAILED:
            workflow.successes_in_a_row = 0
            self._failures.append(end)
        self._all.add(end.at, end.status)
        self._note_slow(end)
        self._changed.add(key)
        return True

    def learn(self, end: EndedExecution) -> None:
        """Count an end of the time before, and judge its workflow as of then. Earliest first."""
        workflow = self._workflows.get((end.workflow_id, end.workflow_name))
        if workflow is not None:
            self._judge(workflow, end.at)  # nothing may have ended for long before
        if self.ended(end):
            self._judge(self._workflow((end.workflow_id, end.workflow_name)), end.at)

    def judge(self, now: float) -> None:
        """Decide anew which workflows fail more often than usual: of those that ended something since the last time,
        and of those that did then."""
        changed, self._changed = self._changed, set()
        for key, workflow in self._workflows.items():
            if key in changed or workflow.failing is not None:
                self._judge(workflow, now)

    def failing(self, now: float) -> dict[Key, tuple[Failing, Tally]]:
        """The workflows that fail more often than usual, with what lately became of them."""
        return {
            key: (workflow.failing, self._lately(workflow, now))
            for key, workflow in self._workflows.items()
            if workflow.failing is not None
        }

    def errors_of(self, key: Key) -> Counter[str]:
        """How many of a workflow's latest ends were failures with which type of error."""
        workflow = self._workflows.get(key)
        return Counter() if workflow is None else _error_types(workflow.latest)

    # ---- views

    def windows(self, now: float) -> tuple[WindowOfEnds, ...]:
        return tuple(self._all.between(now - seconds, now).window(seconds) for seconds in WINDOWS)

    def workflows(self, now: float, limit: int) -> tuple[WorkflowView, ...]:
        """Failing ones first, then those that ended something last."""
        ordered = sorted(self._workflows.items(), key=lambda one: (one[1].failing is None, -one[1].ended_at))
        return tuple(self._view(key, workflow, now) for key, workflow in ordered[:limit])

    def slowest(self, now: float, limit: int) -> tuple[EndedExecution, ...]:
        """Of the last hour, slowest first."""
        return tuple(one for one in self._slowest if one.at > now - _SLOWEST_OF)[:limit]

    def recent_failures(self, limit: int) -> tuple[EndedExecution, ...]:
        """Latest first."""
        return tuple(reversed(self._failures))[:limit]

    # ---- within

    @property
    def _width(self) -> float:
        return self._usual / 60

    @property
    def _kept(self) -> float:
        """Seconds for which a workflow's ends are counted."""
        return max(self._usual + self._recent, WINDOWS[-1])

    def _workflow(self, key: Key) -> _Workflow:
        workflow = self._workflows.get(key)
        if workflow is None:
            workflow = self._workflows[key] = _Workflow(Slices(self._width, self._kept))
        self._workflows.move_to_end(key)
        if len(self._workflows) > _WORKFLOWS:
            self._workflows.popitem(last=False)
        return workflow

    def _judge(self, workflow: _Workflow, now: float) -> None:
        recent = self._lately(workflow, now)
        before = workflow.failing
        if before is None:
            usual = self._usually(workflow, now)
            if is_unusual(recent, usual):
                workflow.failing = Failing(now, usual, recent)
        elif is_mended(before.worst.rate or 0.0, workflow.successes_in_a_row):
            self._end_episode(workflow, before, now)
            workflow.counted_from = now  # what failed before it was mended says nothing about after
        elif not recent.count:
            self._end_episode(workflow, before, now)  # nothing recent shows that it still fails
        else:
            workflow.failing = before.after(recent)

    def _end_episode(self, workflow: _Workflow, failing: Failing, now: float) -> None:
        workflow.failing = None
        workflow.episodes.append(_Episode(failing.since - self._recent - self._width, now))

    def _lately(self, workflow: _Workflow, now: float) -> Tally:
        after = max(now - self._recent, workflow.counted_from)
        statuses = [end.status for end in workflow.latest if end.at > after]
        return Ends(statuses.count(ExecutionStatus.COMPLETED), statuses.count(ExecutionStatus.FAILED)).tally

    def _usually(self, workflow: _Workflow, now: float) -> float:
        until = now - self._recent - self._width  # whole slices alone: nothing recent is part of what is usual
        after, counted = until - self._usual, workflow.slices.coarse
        usually = counted.between(after, until).tally
        for began, ended in workflow.episodes:
            after = max(after, began)
            if after < min(ended, until):
                usually = usually.without(counted.between(after, min(ended, until)).tally)
                after = ended
        return usual_rate(usually)

    def _note_slow(self, end: EndedExecution) -> None:
        if end.duration is None:
            return
        kept = [one for one in self._slowest if one.at > end.at - _SLOWEST_OF]
        if len(kept) < _SLOWEST or end.duration > (kept[-1].duration or 0.0):
            kept.append(end)
            kept.sort(key=lambda one: -(one.duration or 0.0))
        self._slowest = kept[:_SLOWEST]

    def _view(self, key: Key, workflow: _Workflow, now: float) -> WorkflowView:
        recent = self._lately(workflow, now)
        durations = sorted(end.duration for end in workflow.latest if end.duration is not None)
        failing = workflow.failing
        return WorkflowView(
            workflow_id=key[0],
            workflow_name=key[1],
            windows=workflow.slices.windows(now),
            recent_ended=recent.count,
            recent_failed=recent.failed,
            usual_failure_rate=self._usually(workflow, now) if failing is None else failing.usual,
            failing_since=None if failing is None else failing.since,
            last_ended_at=workflow.ended_at,
            duration_p50=_percentile(durations, 0.5),
            duration_p95=_percentile(durations, 0.95),
            errors=dict(_error_types(workflow.latest).most_common(10)),
        )


def _error_types(ends: Iterable[_End]) -> Counter[str]:
    """How many of them failed with which type of error."""
    return Counter(kind for end in ends for kind in end.kinds)


def _percentile(ordered: list[float], share: float) -> float | None:
    """The least of them that so great a share does not exceed."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
