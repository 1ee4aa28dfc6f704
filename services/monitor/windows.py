"""What processes counted within the last minute, five minutes, quarter of an hour, and hour.

Processes report what they counted since they began. What came since a process's last report is added to totals over all
processes, and how the totals were is remembered for as long as the longest window. A report that was lost costs
nothing: the next one has what it had.
"""

import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import lt, sub

from contracts.monitoring import MetricFamily, MetricKind
from services.monitor.history import History
from services.monitor.percentiles import Distribution, merged
from services.monitor.series_table import Labels, Metric, Row, SeriesTable

MOST_KEPT = 400_000
"""Figures of all processes' last reports together, about 110 bytes each with what is around them; long labels count as
more. What is beyond is not counted, and ``Windows.left_out`` says so."""
_TEXT = 110  # characters of a series' labels that take the room of one figure
MOST_TOTALS = 50_000
"""Figures of all series together, 8 bytes each in the totals and in every snapshot of them (``history``)."""

Instance = tuple[str, str]
"""Who reports of a process, and what the process calls itself."""
Figures = tuple[float, ...]
Place = tuple[str, ...]


@dataclass(slots=True)
class _Process:
    """A process's last report. ``whole``: there was room for all that it ever reported, so that a series which comes
    for the first time was zero before."""

    whole: bool = True
    last: dict[Row, Figures] = field(default_factory=dict)
    gauges: tuple[MetricFamily, ...] = ()
    kept: int = 0
    left_out: int = 0


class Windows:
    """
    Args:
        clock: seconds; never goes back.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        most_kept: int = MOST_KEPT,
        most_totals: int = MOST_TOTALS,
    ) -> None:
        self._clock = clock
        self._most_kept = most_kept
        self._kept = 0
        self._processes: dict[Instance, _Process] = {}
        self._table = SeriesTable(most_totals)
        self._unheld: set[Row] = set()
        self._began = self._changed_at = clock()
        self._history = History(self._began)

    @property
    def left_out(self) -> int:
        """How many series of the last reports there was no room for."""
        return sum(process.left_out for process in self._processes.values())

    @property
    def snapshots(self) -> int:
        return len(self._history)

    @property
    def series(self) -> int:
        """How many there are, those of all processes together being one."""
        return len(self._table)

    # ---- what comes in

    def add(self, instance: Instance, metrics: Iterable[MetricFamily], *, from_zero: bool) -> None:
        """Take the metrics of a report, the latest of its process. ``from_zero``: where this is the first of that
        process, what it counted so far came after this monitor began, or happened in no window else."""
        now = self._clock()
        if self._history.is_due(now):
            self._history.remember(self._table.totals, self._changed_at, now)
            self._drop_unheld()
        process = self._processes.get(instance)
        if process is None:
            process = self._processes[instance] = _Process()
        else:
            from_zero = process.whole
        families = list(metrics)
        process.left_out = 0
        self._keep_gauges(process, [one for one in families if one.kind is MetricKind.GAUGE])
        for family in families:
            if family.kind is not MetricKind.GAUGE:
                self._count(process, family, now, from_zero=from_zero)
        process.whole = process.whole and not process.left_out
        self._changed_at = now

    def forget(self, instance: Instance) -> None:
        """Nothing more comes from that process. What it counted stays counted."""
        process = self._processes.pop(instance, None)
        if process is None:
            return
        self._kept -= process.kept
        for row in process.last:
            row.holders -= 1
            if not row.holders:
                self._unheld.add(row)

    def _keep_gauges(self, process: _Process, gauges: list[MetricFamily]) -> None:
        self._release(process, sum(map(_room_of_gauge, process.gauges)))
        gauges = [family for family in gauges if family.series]
        if not self._take(process, sum(map(_room_of_gauge, gauges))):
            process.left_out += sum(len(family.series) for family in gauges)
            gauges = []
        process.gauges = tuple(gauges)

    def _count(self, process: _Process, family: MetricFamily, now: float, *, from_zero: bool) -> None:
        bounds = family.bounds if family.kind is MetricKind.HISTOGRAM else None
        metric = Metric(family.name, family.labels, bounds)
        rows, last, table = self._table.rows_of(metric), process.last, self._table
        for values, figures in family.series:
            row = rows.get(values)
            before = None if row is None else last.get(row)
            if before == figures:
                continue
            if row is None or before is None:
                row = self._hold(process, metric, values, row, now)
                if row is None:
                    process.left_out += 1
                    continue
                if not rows:
                    rows = table.rows_of(metric)
                if from_zero:
                    table.add(row, figures, now)
            elif _is_reset(before, figures):
                table.add(row, figures, now)
            else:
                table.add(row, map(sub, figures, before), now)
            last[row] = figures

    def _hold(self, process: _Process, metric: Metric, values: Labels, row: Row | None, now: float) -> Row | None:
        """The row of a series that the process has not reported so far; None where there is no room for it."""
        room = metric.width + _room_of_text(values)
        if not self._take(process, room):
            return None
        row = row or self._table.new_row(metric, values, now)
        if row is None:
            self._release(process, room)
            return None
        if not row.holders:
            self._unheld.discard(row)
        row.holders += 1
        return row

    def _take(self, process: _Process, figures: int) -> bool:
        if self._kept + figures > self._most_kept:
            return False
        self._kept += figures
        process.kept += figures
        return True

    def _release(self, process: _Process, figures: int) -> None:
        self._kept -= figures
        process.kept -= figures

    def _drop_unheld(self) -> None:
        """Series that no process reports any more, and that are the same in every snapshot."""
        since = self._history.reaches_to
        for row in [row for row in self._unheld if row.changed_at < since]:
            self._unheld.discard(row)
            self._table.drop(row, self._history.remembered)

    # ---- what is asked

    def over(self, seconds: float) -> "Increments":
        """What was counted in the last ``seconds``, or since this monitor began if that is less."""
        now = self._clock()
        moment = now - seconds
        if moment >= self._changed_at:
            then, at = self._table.totals, moment
        else:
            then, at = self._history.at(moment)
        return Increments(self._table, then, seconds=now - at)

    def gauge(self, name: str, *by: str, of: Callable[[Iterable[float]], float] = sum) -> dict[Place, float]:
        """The sum over all processes of what they last reported, by the values of these labels; or, with ``of=max``,
        the most that one reported."""
        found: dict[Place, list[float]] = {}
        for family in (one for process in self._processes.values() for one in process.gauges if one.name == name):
            place_of = _placing(family.labels, by)
            for values, figures in family.series:
                found.setdefault(place_of(values), []).append(figures[0])
        return {place: of(figures) for place, figures in found.items()}


class Increments:
    """What was counted over ``seconds``. What did not grow is left out. To be read at once: it looks at the totals as
    they are."""

    def __init__(self, table: SeriesTable, then: "array[float]", *, seconds: float) -> None:
        self.seconds = seconds
        self._table = table
        self._then = then

    def sums(self, name: str, *by: str) -> dict[Place, float]:
        """A counter's increments, by the values of these labels (empty where a series has no such label)."""
        found: dict[Place, float] = {}
        for place, _, figures in self._grown(name, by):
            found[place] = found.get(place, 0.0) + figures[0]
        return found

    def total(self, name: str) -> float:
        """A counter's increments in all its series."""
        return sum(self.sums(name).values())

    def distributions(self, name: str, *by: str) -> dict[Place, Distribution]:
        """A histogram's observations, by the values of these labels."""
        found: dict[Place, list[Distribution]] = {}
        for place, metric, figures in self._grown(name, by):
            if metric.bounds is not None:
                found.setdefault(place, []).append(Distribution(metric.bounds, figures[:-1], figures[-1]))
        return {place: merged(those) for place, those in found.items()}

    def distribution(self, name: str) -> Distribution:
        """A histogram's observations in all its series."""
        return self.distributions(name).get((), Distribution())

    def _grown(self, name: str, by: tuple[str, ...]) -> Iterator[tuple[Place, Metric, Figures]]:
        now, then = self._table.totals, self._then
        placing: dict[Labels, Callable[[Labels], Place]] = {}
        for row in self._table.named(name):
            figures = now[row.offset : row.offset + row.width]
            before = then[row.offset : row.offset + row.width]
            if figures == before:
                continue
            # A row that came later than the snapshot is not in it.
            grown = tuple(map(sub, figures, before) if before else figures)
            if any(grown):
                place_of = placing.setdefault(row.metric.labels, _placing(row.metric.labels, by))
                yield place_of(row.values), row.metric, grown


def _placing(labels: Labels, by: tuple[str, ...]) -> Callable[[Labels], Place]:
    positions = [labels.index(label) if label in labels else None for label in by]
    return lambda values: tuple("" if position is None else values[position] for position in positions)


def _room_of_text(values: Labels) -> int:
    return sum(map(len, values)) // _TEXT


def _room_of_gauge(family: MetricFamily) -> int:
    return sum(1 + _room_of_text(values) for values, _ in family.series)


def _is_reset(before: Figures, figures: Figures) -> bool:
    """Whether a series began anew: something was counted less often than before. A histogram's sum may fall."""
    counted = slice(None) if len(before) == 1 else slice(-1)
    return any(map(lt, figures[counted], before[counted]))
