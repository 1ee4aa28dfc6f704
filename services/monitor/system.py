"""The processes that report, their hosts, and those that are gone: what ``/api/v1/monitoring/system`` shows."""

import time
from collections.abc import Callable, Iterable

from contracts.monitoring_views import GoneProcess, HostFigures, ProcessFigures, SystemView
from services.monitor.reports import Heard, Reports


def system_of(reports: Reports, wall: Callable[[], float] = time.time) -> SystemView:
    heard = reports.processes()
    here = [one for one in heard if not one.presence.gone]
    return SystemView(
        at=wall(),
        since=reports.since,
        processes=tuple(_process(one) for one in here),
        hosts=tuple(_hosts(here)),
        gone=tuple(_gone(one) for one in heard if one.presence.gone),
        refused=reports.refused,
    )


def _process(heard: Heard) -> ProcessFigures:
    report = heard.report
    return ProcessFigures(
        instance=report.instance,
        services=tuple(state.service for state in report.services),
        not_ready=tuple(state.service for state in report.services if not state.ready),
        presence=heard.presence,
        host=report.host,
        pid=report.pid,
        version=report.version,
        uptime=report.at - report.started_at + heard.silent_for,
        heard_at=heard.last_at,
        silent_for=heard.silent_for,
        system=report.system,
    )


def _gone(heard: Heard) -> GoneProcess:
    report = heard.report
    return GoneProcess(
        instance=report.instance,
        services=tuple(state.service for state in report.services),
        why=heard.presence,
        host=report.host,
        pid=report.pid,
        version=report.version,
        uptime=report.at - report.started_at,
        heard_at=heard.last_at,
        silent_for=heard.silent_for,
    )


def _hosts(here: Iterable[Heard]) -> Iterable[HostFigures]:
    by_host: dict[str, list[Heard]] = {}
    for one in here:
        by_host.setdefault(one.report.host, []).append(one)
    return (_host(host, by_host[host]) for host in sorted(by_host))


def _host(host: str, there: list[Heard]) -> HostFigures:
    latest = min(there, key=lambda one: one.silent_for).report.system
    systems = [one.report.system for one in there]
    return HostFigures(
        host=host,
        processes=len(there),
        cpu=sum(system.cpu for system in systems),
        memory=sum(system.memory for system in systems),
        threads=sum(system.threads for system in systems),
        host_cpu=latest.host_cpu,
        host_memory_total=latest.host_memory_total,
        host_memory_available=latest.host_memory_available,
        network_received=latest.network_received,
        network_sent=latest.network_sent,
    )
