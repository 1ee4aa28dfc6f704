"""Agents' actions, by what their hosts counted: which fail more often than usual."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from contracts.monitoring_health import ActionView
from services.monitor.unusual import Tally, is_mended, is_unusual, is_worse, usual_rate
from services.monitor.windows import Increments, Windows

_NAMES = ("agent_type", "action")
_FAILED = frozenset(("failed", "timeout", "crashed"))
_WORKED = frozenset(("succeeded", "cached"))
_JUST_NOW = 60.0  # seconds
_EPISODES = 5  # of one action, in which it failed more often than usual

Action = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Failing:
    since: float
    usual: float
    worst: Tally


class _Episode(NamedTuple):
    """A time in which an action failed more often than usual: it says nothing about what is usual."""

    began: float
    ended: float


class ActionRates:
    """
    Args:
        recent: seconds of which the calls are held against those before.
        usual: seconds, those of ``recent`` included, from which it is known what is usual.
    """

    def __init__(self, windows: Windows, recent: float, usual: float) -> None:
        self._windows = windows
        self._recent = recent
        self._usual = usual
        self._failing: dict[Action, _Failing] = {}
        self._mended_at: dict[Action, float] = {}
        self._episodes: defaultdict[Action, list[_Episode]] = defaultdict(list)

    def judge(self, now: float) -> Mapping[str, list[ActionView]]:
        """Every action that was called lately or fails, by agent type. ``now``: epoch seconds."""
        lately = self._windows.over(self._recent)
        recent, ever = _tallies(lately), _tallies(self._windows.over(self._usual))
        just_now = _tallies(self._windows.over(min(_JUST_NOW, self._recent)))
        durations = lately.distributions("conclave_agent_action_duration_seconds", *_NAMES)
        self._mended_at = {key: at for key, at in self._mended_at.items() if now - at < self._recent}
        for key in [key for key in self._failing if key not in recent]:
            self._end_episode(key, now)  # nothing recent shows that it still fails
        self._forget_episodes(now)
        found: defaultdict[str, list[ActionView]] = defaultdict(list)
        for key, counted in sorted(recent.items()):
            before = ever.get(key, Tally()).without(counted).without(self._in_episodes(key, now))
            self._judge(key, self._since_mended(key, counted, now), before, just_now.get(key, Tally()), now)
            failing, spread = self._failing.get(key), durations.get(key)
            found[key[0]].append(
                ActionView(
                    action=key[1],
                    window=lately.seconds,
                    calls=counted.count,
                    failed=counted.failed,
                    failure_rate=counted.rate,
                    usual_failure_rate=usual_rate(before) if failing is None else failing.usual,
                    failing=failing is not None,
                    worst_calls=None if failing is None else failing.worst.count,
                    worst_failed=None if failing is None else failing.worst.failed,
                    duration_p50=None if spread is None else spread.quantile(0.5),
                    duration_p95=None if spread is None else spread.quantile(0.95),
                )
            )
        return found

    def _judge(self, key: Action, recent: Tally, before: Tally, just_now: Tally, now: float) -> None:
        failing = self._failing.get(key)
        if failing is None:
            usual = usual_rate(before)
            if is_unusual(recent, usual):
                self._failing[key] = _Failing(now, usual, recent)
        elif not just_now.failed and is_mended(failing.worst.rate or 0.0, just_now.count):
            self._end_episode(key, now)
            self._mended_at[key] = now
        elif is_worse(recent, failing.worst, failing.usual):
            self._failing[key] = replace(failing, worst=recent)

    def _end_episode(self, key: Action, now: float) -> None:
        self._episodes[key].append(_Episode(self._failing.pop(key).since - self._recent, now))

    def _forget_episodes(self, now: float) -> None:
        for key, those in list(self._episodes.items()):
            kept = [one for one in those if now - one.ended < self._usual][-_EPISODES:]
            if kept:
                self._episodes[key] = kept
            else:
                del self._episodes[key]

    def _in_episodes(self, key: Action, now: float) -> Tally:
        """What was counted in them before what is recent."""
        found, after = Tally(), now - self._usual
        for began, ended in self._episodes.get(key, ()):
            after, until = max(after, began), min(ended, now - self._recent)
            if after < until:
                these = self._since(after, key, now).without(self._since(until, key, now))
                found = Tally(found.count + these.count, found.failed + these.failed)
                after = until
        return found

    def _since(self, moment: float, key: Action, now: float) -> Tally:
        return _tallies(self._windows.over(now - moment)).get(key, Tally())

    def _since_mended(self, key: Action, recent: Tally, now: float) -> Tally:
        """What failed before it was mended says nothing about after."""
        mended_at = self._mended_at.get(key)
        if mended_at is None:
            return recent
        return self._since(mended_at, key, now)


def _tallies(counted: Increments) -> dict[Action, Tally]:
    """Of each action, leaving out what was cancelled or refused, which says nothing of how well it works."""
    found: dict[Action, Tally] = {}
    for (agent_type, action, outcome), count in counted.sums(
        "conclave_agent_actions_total", *_NAMES, "outcome"
    ).items():
        before = found.get((agent_type, action), Tally())
        if outcome in _FAILED:
            found[agent_type, action] = Tally(before.count + round(count), before.failed + round(count))
        elif outcome in _WORKED:
            found[agent_type, action] = Tally(before.count + round(count), before.failed)
    return found
