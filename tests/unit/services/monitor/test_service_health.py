from typing import Any

import pytest

from contracts import topology
from contracts.monitoring import CheckResult
from contracts.monitoring_health import Component, InstanceHealth, ServiceHealth, Severity
from services.__main__ import service_names
from services.monitor.findings import Finding
from services.monitor.service_health import EXPECTED, component_findings, service_findings, services_of
from services.runtime.bus.base import QueueFigures


def measured(**consumers: int) -> dict[str, QueueFigures]:
    """All queues of all services with a consumer each, but for those named (with _ for their dots and dashes)."""
    queues = [queue for expected in EXPECTED.values() for queue in expected.queues]
    named = {queue.name.replace(".", "_").replace("-", "_"): queue.name for queue in queues}
    figures = {queue.name: QueueFigures(ready=0, unacked=None, consumers=1) for queue in queues}
    return figures | {named[key]: QueueFigures(3, None, count) for key, count in consumers.items()}


def instance(pid: int = 1, **fields: Any) -> InstanceHealth:
    given = {"instance": f"i{pid}", "host": "h", "pid": pid, "version": "1", "started_at": 1.0, "heard_at": 2.0}
    return InstanceHealth(**{**given, "ready": True, **fields})


def not_ready(pid: int = 1) -> InstanceHealth:
    return instance(pid, ready=False, faults=(CheckResult(name="store", fault="no answer"),))


def findings(
    instances: dict[str, list[InstanceHealth]], figures: dict[str, QueueFigures] | None = None
) -> list[Finding]:
    figures = measured() if figures is None else figures
    return list(service_findings(services_of(instances, figures), figures))


def test_every_service_with_a_queue_of_its_own_is_expected() -> None:
    hosts_and_edge = {name for name in service_names() if name.endswith("_agent")} | {"edge"}
    assert set(EXPECTED) == set(service_names()) - hosts_and_edge


def test_nothing_is_wrong_where_all_are_consumed() -> None:
    assert findings({name: [instance()] for name in EXPECTED}) == []


@pytest.mark.parametrize(
    ("name", "queue", "severity"),
    [
        ("orchestrator", "orchestrator_shard_2", Severity.CRITICAL),
        ("orchestrator", "orchestrator_starts", Severity.CRITICAL),
        ("registry", "registry", Severity.ERROR),
        ("dead_letters", "dead_letters", Severity.ERROR),
        ("monitor", "monitor", Severity.WARNING),
    ],
)
def test_a_queue_without_consumers_names_the_service(name: str, queue: str, severity: Severity) -> None:
    (found,) = findings({}, measured(**{queue: 0}))
    assert (found.code, found.subject, found.severity) == ("service_missing", f"service:{name}", severity)
    assert "where 3 messages wait" in found.what
    assert name in found.what_to_do


def test_a_service_whose_queue_does_not_exist_has_never_run() -> None:
    figures = measured()
    del figures[topology.access_queue().name]
    (found,) = findings({}, figures)
    assert (found.code, found.subject) == ("service_missing", "service:access")


def test_queues_that_could_not_be_measured_say_nothing() -> None:
    services = services_of({}, None)
    assert {one.consumers for one in services} == {None}
    assert list(service_findings(services, None)) == []


def test_an_instance_that_is_not_ready_says_which_check_failed() -> None:
    (found,) = findings({"registry": [instance(1), not_ready(2)]})
    assert (found.code, found.severity) == ("service_not_ready", Severity.WARNING)
    assert found.what == "1 of 2 processes of registry are not ready. h:2: store: no answer"
    (found,) = findings({"orchestrator": [not_ready(1), not_ready(2)]})
    assert found.severity is Severity.CRITICAL
    (found,) = findings({"edge": [not_ready()]})
    assert found.severity is Severity.WARNING


def test_a_store_that_is_away_is_not_a_problem_of_each_service() -> None:
    services = services_of({"registry": [not_ready()], "edge": [not_ready()]}, measured())
    assert list(service_findings(services, measured(), away=["store"])) == []
    both = instance(ready=False, faults=(CheckResult(name="store", fault="x"), CheckResult(name="bus", fault="y")))
    (found,) = service_findings(services_of({"edge": [both]}, measured()), measured(), away=["store"])
    assert found.subject == "service:edge"


@pytest.mark.parametrize(
    ("name", "others", "severity"),
    [
        ("orchestrator", 1, Severity.WARNING),
        ("orchestrator", 0, Severity.CRITICAL),
        ("access", 0, Severity.ERROR),
        ("edge", 0, Severity.ERROR),
    ],
)
def test_a_silent_process_is_as_bad_as_nobody_in_its_place(name: str, others: int, severity: Severity) -> None:
    silent = instance(7, silent=True)
    (found,) = findings({name: [silent, *(instance(pid) for pid in range(others))]})
    assert (found.code, found.subject, found.severity) == ("service_silent", f"service:{name}", severity)
    left = f"1 other of {name} reports" if others else f"0 others of {name} report"
    assert found.what == f"h:7 stopped reporting without a word; {left}"


def test_a_service_that_only_reports_is_shown_too() -> None:
    shown = {one.service: one for one in services_of({"edge": [instance()]}, measured())}
    assert shown["edge"] == ServiceHealth(service="edge", expected=False, instances=(instance(),))
    assert set(shown) == {*EXPECTED, "edge"}


def test_bus_and_store() -> None:
    (found,) = component_findings([Component(name="bus"), Component(name="store", fault="gone")])
    assert (found.code, found.subject, found.severity) == ("store_unavailable", "store", Severity.CRITICAL)
    assert "gone" in found.what
