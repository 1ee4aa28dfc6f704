"""Whatever happens to reports and to processes, the monitor counts what really happened.

Processes count, report and are replaced; reports are lost, come twice, come late and overtake each other. What must be
counted is known without looking at the monitor: of every process, what its latest report that arrived says, less what
it had counted before the monitor could hear of it.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts.monitoring import MetricFamily, MetricKind, ProcessReported
from services.monitor.reports import Reports
from services.monitor.windows import Windows
from tests.support.process_reports import BEGAN, Clock, counter

BOUNDS = (1.0, 2.0)
KINDS = ("a", "b", "c")
HEAD_START = 1_000.0  # seconds that the monitor was there before anything happens
places = st.integers(0, 1)


@dataclass
class Process:
    """A process as it is. ``before``: it began before the monitor did."""

    instance: str
    began: float
    before: bool = False
    number: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    observed: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def report(self, now: float) -> ProcessReported:
        self.number += 1
        observed = ((), (*map(float, self.observed), float(sum(self.observed))))
        histogram = MetricFamily(name="took", kind=MetricKind.HISTOGRAM, bounds=BOUNDS, series=(observed,))
        metrics = (counter("done", {kind: n for kind, n in self.counted.items() if n}), histogram)
        return ProcessReported(
            instance=self.instance,
            number=self.number,
            host="host",
            pid=1,
            version="1",
            started_at=BEGAN + self.began,
            at=BEGAN + now,
            interval=5.0,
            metrics=metrics,
        )


class Counting(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.windows = Windows(self.clock)
        self.reports = Reports(self.windows, self.clock, self.clock)
        self.clock.now = HEAD_START
        self.ids = map(str, itertools.count())
        self.processes = [self.new() for _ in range(2)]
        self.on_the_way: list[tuple[ProcessReported, Counter[str], list[int]]] = []
        self.latest: dict[str, int] = {}
        self.last: dict[str, tuple[Counter[str], list[int]]] = {}
        self.expected: Counter[str] = Counter()
        self.expected_observed = [0] * (len(BOUNDS) + 1)
        self.arrived: list[tuple[float, int]] = []

    def new(self) -> Process:
        return Process(next(self.ids), began=self.clock.now)

    @initialize(place=places, counted=st.integers(0, 50))
    def one_was_there_before(self, place: int, counted: int) -> None:
        old = self.processes[place]
        old.began, old.before, old.number = -500.0, True, 100
        old.counted["a"] = old.observed[0] = counted

    # ---- what happens

    @rule(place=places, kind=st.sampled_from(KINDS), times=st.integers(1, 9))
    def counts(self, place: int, kind: str, times: int) -> None:
        self.processes[place].counted[kind] += times

    @rule(place=places, bucket=st.integers(0, len(BOUNDS)), times=st.integers(1, 9))
    def observes(self, place: int, bucket: int, times: int) -> None:
        self.processes[place].observed[bucket] += times

    @rule(place=places)
    def sends_a_report(self, place: int) -> None:
        process = self.processes[place]
        report = process.report(self.clock.now)
        self.on_the_way.append((report, Counter(process.counted), list(process.observed)))

    @rule(place=places, kind=st.sampled_from(KINDS), times=st.integers(1, 9))
    def goes_on_as_it_should(self, place: int, kind: str, times: int) -> None:
        self.counts(place, kind, times)
        self.sends_a_report(place)
        self.arrives(len(self.on_the_way) - 1, again=False)

    @rule(place=places)
    def is_replaced(self, place: int) -> None:
        """What it counted and never reported nobody will ever know."""
        self.processes[place] = self.new()

    @rule(which=st.integers(0, 100), again=st.booleans())
    def arrives(self, which: int, again: bool) -> None:
        """Any of those on their way, so they overtake each other; perhaps not for the last time."""
        if not self.on_the_way:
            return
        chosen = which % len(self.on_the_way)
        report, counted, observed = self.on_the_way[chosen]
        if not again:
            del self.on_the_way[chosen]
        self.clock.now += 0.01
        is_news = report.number > self.latest.get(report.instance, 0)
        assert self.reports.hear(report) is is_news
        if is_news:
            self.expect(report, counted, observed)

    @rule(which=st.integers(0, 100))
    def is_lost(self, which: int) -> None:
        if self.on_the_way:
            del self.on_the_way[which % len(self.on_the_way)]

    @rule(seconds=st.floats(0.1, 12))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    # ---- what must have been counted

    def expect(self, report: ProcessReported, counted: Counter[str], observed: list[int]) -> None:
        first = report.instance not in self.latest
        self.latest[report.instance] = report.number
        base = self.last.get(report.instance, (Counter(), [0] * len(observed)))
        self.last[report.instance] = (counted, observed)
        if first and report.started_at < BEGAN:
            return
        grown = counted - base[0]
        self.expected += grown
        self.arrived.append((self.clock.now, grown.total()))
        self.expected_observed = [
            sum(those) - before for *those, before in zip(self.expected_observed, observed, base[1], strict=True)
        ]

    @invariant()
    def everything_is_counted_once(self) -> None:
        found = self.windows.over(3600)
        assert {place[0]: figure for place, figure in found.sums("done", "kind").items()} == dict(self.expected)
        distribution = found.distribution("took")
        if sum(self.expected_observed):
            assert list(distribution.counts) == self.expected_observed
            assert distribution.sum == sum(self.expected_observed)
        else:
            assert not distribution.count

    @invariant()
    def a_window_holds_what_arrived_in_the_seconds_that_it_says(self) -> None:
        found = self.windows.over(60)
        began = self.clock.now - found.seconds
        least = sum(count for at, count in self.arrived if at > began + 1e-6)
        most = sum(count for at, count in self.arrived if at >= began - 1e-6)
        assert least <= found.total("done") <= most


Counting.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestCounting = Counting.TestCase
