"""The view of the processes and their hosts."""

from contracts.monitoring import CheckResult, ServiceState, SystemFigures
from services.monitor.reports import Reports
from services.monitor.system import system_of
from services.monitor.windows import Windows
from tests.support.process_reports import Clock, report


def test_processes_hosts_and_those_that_are_gone() -> None:
    clock, wall = Clock(), Clock(1_000.0)
    reports = Reports(Windows(clock), clock, wall)
    reports.hear(report("crashed", services=("auditor",), host="a", uptime=7))
    reports.hear(report("ended", services=("access",), host="c", uptime=9, stopping=True))
    clock.now, wall.now = 100.0, 1_100.0
    small = SystemFigures(cpu=0.25, memory=100, threads=3, host_cpu=0.4, host_memory_total=1_000, network_sent=1)
    large = SystemFigures(cpu=1.5, memory=500, threads=9, host_cpu=0.6, host_memory_total=1_000, network_sent=8)
    reports.hear(report("edge", services=("edge",), host="a", system=small, uptime=60))
    clock.now += 2
    wall.now += 2
    waiting = ServiceState(service="registry", checks=(CheckResult(name="bus", fault="not connected"),))
    both = report("both", services=("orchestrator",), host="a", system=large, uptime=30, stopping=True)
    reports.hear(both.model_copy(update={"services": (*both.services, waiting)}))
    reports.hear(report("alone", services=("data_agent",), host="b", system=small))
    wall.now += 1
    clock.now += 1

    view = system_of(reports, wall)

    assert (view.at, view.since, view.refused) == (1_103.0, 1_000.0, 0)
    assert [one.instance for one in view.processes] == ["edge", "both", "alone"]
    edge, both_seen, _ = view.processes
    assert (edge.presence, edge.services, edge.not_ready) == ("here", ("edge",), ())
    assert (edge.uptime, edge.heard_at, edge.silent_for, edge.system) == (63.0, 1_100.0, 3.0, small)
    assert (both_seen.presence, both_seen.not_ready) == ("stopping", ("registry",))
    first, second = view.hosts
    assert (first.host, first.processes, first.cpu, first.memory, first.threads) == ("a", 2, 1.75, 600, 12)
    assert (first.host_cpu, first.host_memory_total, first.network_sent) == (0.6, 1_000, 8), "as last seen"
    assert (second.host, second.processes, second.memory) == ("b", 1, 100)
    crashed, ended = view.gone
    assert (crashed.instance, crashed.why, crashed.uptime, crashed.silent_for) == ("crashed", "silent", 7.0, 103.0)
    assert (ended.instance, ended.why, ended.services) == ("ended", "stopped", ("access",))


def test_without_reports_there_is_nothing() -> None:
    clock = Clock()
    view = system_of(Reports(Windows(clock), clock, clock), clock)
    assert (view.processes, view.hosts, view.gone) == ((), (), ())
