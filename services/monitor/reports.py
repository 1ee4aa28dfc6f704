"""Which processes reported, when, and which of them are gone."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from contracts.monitoring import ProcessReported
from services.monitor.windows import Instance, Windows

log = structlog.get_logger(__name__)

MISSED = 3.5  # intervals: the third report was due, and half of one more is for what is on its way
KEPT = 900.0  # seconds for which a process that is gone is remembered
MOST = 1_000  # processes that are known at a time
_SWEEP = 1.0  # seconds between two looks for who is gone


class Presence(StrEnum):
    HERE = "here"
    STOPPING = "stopping"  # it was told to end, and still reports
    STOPPED = "stopped"  # it was told to end, and is gone
    SILENT = "silent"  # three reports did not come: it crashed, hangs, or cannot reach the broker

    @property
    def gone(self) -> bool:
        return self in (Presence.STOPPED, Presence.SILENT)


@dataclass(frozen=True, slots=True)
class Heard:
    """A process by its last report (without the metrics). ``first_at`` and ``last_at`` are when the monitor heard its
    first and last one, in epoch seconds by the monitor's clock; ``silent_for`` is seconds."""

    report: ProcessReported
    first_at: float
    last_at: float
    silent_for: float
    presence: Presence


@dataclass(slots=True)
class _Known:
    report: ProcessReported
    first_at: float
    last_at: float
    heard: float  # by the clock that never goes back


class Reports:
    """Hears every report, and passes its metrics on to the windows.

    Args:
        clock: seconds; never goes back.
        wall: epoch seconds.
    """

    def __init__(
        self,
        windows: Windows,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        most: int = MOST,
    ) -> None:
        self._windows = windows
        self._clock = clock
        self._wall = wall
        self._most = most
        self._known: dict[Instance, _Known] = {}
        self._swept = self._listening = clock()
        self._counting = self._listening
        """What a process that began after this counted, is in no total yet."""
        self.since = wall()
        """When this monitor began to count, in epoch seconds."""
        self.refused = 0
        """Reports of processes that there was no room for."""

    def hear(self, report: ProcessReported, sender: str = "") -> bool:
        """Take a report; False, and nothing changes, for one that came before or is older than the last one. What one
        ``sender`` says of an instance is not what another says: nobody speaks for a process but itself."""
        now, name = self._clock(), (sender, report.instance)
        self._sweep(now)
        known = self._known.get(name)
        if known is not None and report.number <= known.report.number:
            return False
        if known is None and not self._make_room(now):
            self.refused += 1
            log.warning("report of one process too many", instance=report.instance, host=report.host, most=self._most)
            return False
        self._windows.add(name, report.metrics, from_zero=known is None and self._is_new(report, now))
        wall = self._wall()
        self._known[name] = _Known(
            report=report.model_copy(update={"metrics": ()}),
            first_at=wall if known is None else known.first_at,
            last_at=wall,
            heard=now,
        )
        return True

    def was_deaf(self) -> None:
        """Until now nothing could be heard, so nobody was silent."""
        self._listening = self._clock()

    def processes(self) -> list[Heard]:
        """Those that are here and those that went lately, by host and the services in them."""
        now = self._clock()
        self._sweep(now)
        heard = [
            Heard(one.report, one.first_at, one.last_at, now - one.heard, self._presence(one, now))
            for one in self._known.values()
        ]
        return sorted(heard, key=lambda one: (one.report.host, _services(one.report), one.report.started_at))

    def _is_new(self, report: ProcessReported, now: float) -> bool:
        """Whether all that it counted came after all that this monitor may have counted or forgotten of it. How long
        the process has been there is by its own clock, which need not agree with ours."""
        return report.number == 1 or now - (report.at - report.started_at) >= self._counting

    def _presence(self, known: _Known, now: float) -> Presence:
        silent = now - max(known.heard, self._listening) > MISSED * known.report.interval
        if known.report.stopping:
            return Presence.STOPPED if silent else Presence.STOPPING
        return Presence.SILENT if silent else Presence.HERE

    def _sweep(self, now: float) -> None:
        if now - self._swept < _SWEEP:
            return
        self._swept = now
        for name, known in list(self._known.items()):
            presence = self._presence(known, now)
            if presence is Presence.STOPPED:
                self._windows.forget(name)
            if presence.gone and now - known.heard > KEPT:
                self._forget(name)

    def _make_room(self, now: float) -> bool:
        if len(self._known) < self._most:
            return True
        gone = [(one.heard, name) for name, one in self._known.items() if self._presence(one, now).gone]
        if not gone:
            return False
        self._forget(min(gone)[1])
        return True

    def _forget(self, name: Instance) -> None:
        """Should it come back, it is as one that this monitor never heard: what it counted is not counted twice."""
        self._counting = max(self._counting, self._known.pop(name).heard)
        self._windows.forget(name)


def _services(report: ProcessReported) -> tuple[str, ...]:
    return tuple(state.service for state in report.services)
