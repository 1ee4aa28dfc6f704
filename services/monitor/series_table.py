"""What all processes counted together, a row for each series, in one flat array: so that remembering how it was costs a
copy of that array and no more."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as one kind of process has it; another version's may have other labels or bounds under that name."""

    name: str
    labels: Labels
    bounds: tuple[float, ...] | None
    """None of a counter."""

    @property
    def width(self) -> int:
        return 1 if self.bounds is None else len(self.bounds) + 2


@dataclass(slots=True, eq=False)
class Row:
    """Where a series' figures stand. ``holders``: how many processes report it; ``changed_at``: when it last grew."""

    metric: Metric
    values: Labels
    offset: int
    changed_at: float
    holders: int = 0

    @property
    def width(self) -> int:
        return self.metric.width


class SeriesTable:
    """
    Args:
        most: figures that it has room for; 8 bytes each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[Metric, dict[Labels, Row]] = {}
        self._by_name: dict[str, list[Metric]] = {}
        self._free: dict[int, list[int]] = {}  # offsets of rows that are no more, by their width
        self.totals = array("d")

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def rows_of(self, metric: Metric) -> dict[Labels, Row]:
        """Its rows by the values of their labels: for reading."""
        return self._rows.get(metric, {})

    def named(self, name: str) -> Iterator[Row]:
        """Every row of the metrics of that name."""
        for metric in self._by_name.get(name, ()):
            yield from self._rows[metric].values()

    def new_row(self, metric: Metric, values: Labels, now: float) -> Row | None:
        """A row for a series that has none; None where there is no room."""
        offset = self._room(metric.width)
        if offset is None:
            return None
        if metric not in self._rows:
            self._rows[metric] = {}
            self._by_name.setdefault(metric.name, []).append(metric)
        row = self._rows[metric][values] = Row(metric, values, offset, now)
        return row

    def add(self, row: Row, figures: Iterable[float], now: float) -> None:
        totals, offset = self.totals, row.offset
        for offset, figure in enumerate(figures, row.offset):
            totals[offset] += figure
        row.changed_at = now

    def drop(self, row: Row, remembered: Iterable["array[float]"]) -> None:
        """Its place is free for another, and zero: in the totals, and in the copies of them that are ``remembered``."""
        rows = self._rows[row.metric]
        del rows[row.values]
        if not rows:
            del self._rows[row.metric]
            named = self._by_name[row.metric.name]
            named.remove(row.metric)
            if not named:
                del self._by_name[row.metric.name]
        nothing, end = array("d", bytes(8 * row.width)), row.offset + row.width
        for totals in (self.totals, *remembered):
            if len(totals) >= end:
                totals[row.offset : end] = nothing
        self._free.setdefault(row.width, []).append(row.offset)

    def _room(self, width: int) -> int | None:
        if free := self._free.get(width):
            return free.pop()
        offset = len(self.totals)
        if offset + width > self._most:
            return None
        self.totals.frombytes(bytes(8 * width))
        return offset
