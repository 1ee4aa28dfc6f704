"""Who is there, who is gone and why, and whose counts are new."""

import pytest

from services.monitor.reports import KEPT, Presence, Reports
from services.monitor.windows import Windows
from tests.support.process_reports import Clock, counter, report

UP = 10_000.0  # seconds that the monitor was there before the test


class Monitor:
    def __init__(self, most: int = 100) -> None:
        self.clock, self.wall = Clock(), Clock(5_000_000.0)
        self.windows = Windows(self.clock)
        self.reports = Reports(self.windows, self.clock, self.wall, most=most)

    def hear(self, instance: str, number: int = 1, *, done: float = 0, uptime: float = 5, **says: object) -> bool:
        metrics = (counter("done_total", {"a": done}),)
        return self.reports.hear(report(instance, number, metrics=metrics, uptime=uptime, **says))  # type: ignore[arg-type]

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.wall.now += seconds

    def presence(self) -> dict[str, Presence]:
        return {one.report.instance: one.presence for one in self.reports.processes()}

    @property
    def done(self) -> float:
        return self.windows.over(3600).total("done_total")


@pytest.fixture
def monitor() -> Monitor:
    monitor = Monitor()
    monitor.passes(UP)
    return monitor


# ---- presence


def test_three_reports_that_did_not_come_make_a_process_silent(monitor: Monitor) -> None:
    monitor.hear("quick", interval=5.0)
    monitor.hear("slow", interval=60.0)
    monitor.passes(15)
    assert monitor.presence() == {"quick": Presence.HERE, "slow": Presence.HERE}
    monitor.passes(3)
    assert monitor.presence() == {"quick": Presence.SILENT, "slow": Presence.HERE}
    monitor.hear("quick", 2)
    assert monitor.presence()["quick"] is Presence.HERE


def test_one_that_was_told_to_end_is_gone_in_good_order(monitor: Monitor) -> None:
    monitor.hear("one", 1)
    monitor.hear("one", 2, stopping=True)
    assert monitor.presence() == {"one": Presence.STOPPING}
    monitor.passes(20)
    assert monitor.presence() == {"one": Presence.STOPPED}
    assert Presence.STOPPED.gone
    assert not Presence.STOPPING.gone


def test_those_that_are_gone_are_remembered_for_a_while(monitor: Monitor) -> None:
    monitor.hear("silent")
    monitor.hear("stopped", stopping=True)
    monitor.passes(KEPT - 1)
    assert monitor.presence() == {"silent": Presence.SILENT, "stopped": Presence.STOPPED}
    monitor.passes(2)
    assert monitor.presence() == {}


def test_nobody_was_silent_while_the_monitor_was_deaf(monitor: Monitor) -> None:
    monitor.hear("one")
    monitor.passes(60)
    monitor.reports.was_deaf()
    assert monitor.presence() == {"one": Presence.HERE}
    monitor.passes(18)
    assert monitor.presence() == {"one": Presence.SILENT}


def test_what_is_known_of_a_process(monitor: Monitor) -> None:
    monitor.hear("one", 7, services=("edge", "registry"), done=3)
    monitor.passes(4)
    monitor.hear("one", 8, services=("edge", "registry"), done=4)
    monitor.passes(2)
    (heard,) = monitor.reports.processes()
    assert heard.report.metrics == (), "they are in the windows"
    assert (heard.first_at, heard.last_at, heard.silent_for) == (5_010_000.0, 5_010_004.0, 2.0)
    assert monitor.reports.since == 5_000_000.0


def test_processes_are_listed_by_host_and_services(monitor: Monitor) -> None:
    for instance, host, service in (("1", "b", "edge"), ("2", "a", "registry"), ("3", "a", "auditor")):
        monitor.hear(instance, host=host, services=(service,))
    assert list(monitor.presence()) == ["3", "2", "1"]


# ---- what counts


def test_reports_that_come_twice_or_late_change_nothing(monitor: Monitor) -> None:
    assert monitor.hear("one", 1, done=1)
    assert monitor.hear("one", 3, done=6)
    monitor.passes(16)
    assert not monitor.hear("one", 3, done=6)
    assert not monitor.hear("one", 2, done=4)
    assert monitor.done == 6
    monitor.passes(2)
    assert monitor.presence() == {"one": Presence.SILENT}, "a late report is no sign of life"


def test_a_process_counts_from_zero_if_it_began_later_than_the_monitor(monitor: Monitor) -> None:
    monitor.hear("old", 400, done=1_000, uptime=UP + 1)
    assert monitor.done == 0
    monitor.hear("old", 401, done=1_002, uptime=UP + 6)
    assert monitor.done == 2
    monitor.hear("new", 400, done=30, uptime=UP - 1)
    assert monitor.done == 32


def test_the_first_report_of_a_process_counts_from_zero_however_long_it_waited_for_the_broker(monitor: Monitor) -> None:
    monitor.hear("patient", 1, done=5, uptime=UP * 2)
    assert monitor.done == 5


def test_one_that_was_silent_for_long_is_not_counted_twice(monitor: Monitor) -> None:
    monitor.hear("one", 1, done=5)
    monitor.passes(KEPT + 60)
    assert monitor.presence() == {}
    monitor.hear("one", 200, done=8, uptime=KEPT + 65)
    assert monitor.done == 5, "where it goes on from is known no more"
    monitor.hear("one", 201, done=10, uptime=KEPT + 70)
    assert monitor.done == 7
    monitor.hear("other", 2, done=1, uptime=10)
    assert monitor.done == 8, "it began after that"


def test_one_that_comes_back_in_time_is_counted_whole(monitor: Monitor) -> None:
    monitor.hear("one", 1, done=5)
    monitor.passes(KEPT - 60)
    monitor.hear("one", 200, done=8, uptime=KEPT)
    assert monitor.done == 8


def test_what_comes_from_one_that_had_stopped_is_not_counted_twice(monitor: Monitor) -> None:
    monitor.hear("one", 1, done=5)
    monitor.hear("one", 2, done=6, stopping=True)
    monitor.hear("one", 3, done=7, stopping=True)
    monitor.passes(20)
    assert monitor.presence() == {"one": Presence.STOPPED}
    monitor.hear("one", 4, done=9, stopping=True, uptime=25)
    monitor.hear("one", 5, done=10, stopping=True, uptime=30)
    assert monitor.done == 8


def test_nobody_speaks_for_another_process(monitor: Monitor) -> None:
    assert monitor.reports.hear(report("one", 1, metrics=(counter("done_total", {"a": 1}),)), "edge")
    assert monitor.reports.hear(report("one", 1_000_000, stopping=True), "intruder")
    assert monitor.reports.hear(report("one", 2, metrics=(counter("done_total", {"a": 3}),)), "edge")
    assert monitor.done == 3
    assert sorted(one.presence for one in monitor.reports.processes()) == [Presence.HERE, Presence.STOPPING]


# ---- bounds


def test_beyond_so_many_processes_those_that_are_gone_make_room_and_then_nobody(monitor: Monitor) -> None:
    monitor = Monitor(most=2)
    monitor.passes(UP)
    assert monitor.hear("gone", 1, done=1)
    monitor.passes(1)
    assert monitor.hear("gone later", 1, done=1)
    monitor.passes(60)
    assert monitor.hear("one", 1, done=1)
    assert set(monitor.presence()) == {"gone later", "one"}
    assert monitor.hear("two", 1, done=1)
    assert set(monitor.presence()) == {"one", "two"}
    assert not monitor.hear("three", 1, done=1)
    assert (monitor.reports.refused, monitor.done) == (1, 4)
    assert monitor.hear("one", 2, done=2)
