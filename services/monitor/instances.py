"""In which processes services run, by their reports, and which of those went silent. Pure; times are epoch seconds."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from contracts.monitoring import ServiceState
from contracts.monitoring_health import InstanceHealth
from services.monitor.reports import Heard, Presence


def instances_of(processes: Iterable[Heard], now: float, forgotten_after: float) -> Mapping[str, list[InstanceHealth]]:
    """By service, the processes that report and those that should. Left out are those that were told to end, and a
    silent one that was replaced, or that has been silent for longer than ``forgotten_after`` seconds."""
    heard = list(processes)
    here = [one for one in heard if one.presence is Presence.HERE]
    silent = [
        one
        for one in heard
        if one.presence is Presence.SILENT and now - one.last_at <= forgotten_after and not _is_replaced(one, here)
    ]
    found: defaultdict[str, list[InstanceHealth]] = defaultdict(list)
    for one in (*here, *silent):
        for state in one.report.services:
            found[state.service].append(_instance(one, state))
    return found


def _is_replaced(silent: Heard, others: Iterable[Heard]) -> bool:
    """Whether each of its services runs in a process that was first heard of after its last word."""
    newer = {state.service for one in others if one.first_at > silent.last_at for state in one.report.services}
    return all(state.service in newer for state in silent.report.services)


def _instance(heard: Heard, state: ServiceState) -> InstanceHealth:
    report = heard.report
    return InstanceHealth(
        instance=report.instance,
        host=report.host,
        pid=report.pid,
        version=report.version,
        started_at=report.started_at,
        heard_at=heard.last_at,
        silent=heard.presence is Presence.SILENT,
        ready=state.ready,
        faults=tuple(check for check in state.checks if not check.ok),
    )
