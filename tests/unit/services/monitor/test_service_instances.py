from contracts.monitoring import CheckResult, ProcessReported, ServiceState
from services.monitor.instances import instances_of
from services.monitor.reports import Heard, Presence

NOW = 1_800_000_000.0


def heard(
    name: str,
    *services: str,
    presence: Presence = Presence.HERE,
    first_at: float = NOW - 1_000,
    last_at: float = NOW,
    fault: str = "",
) -> Heard:
    checks = (CheckResult(name="bus"), CheckResult(name="store", fault=fault))
    report = ProcessReported(
        instance=name,
        number=1,
        host="h",
        pid=1,
        version="1",
        started_at=first_at,
        at=last_at,
        interval=5.0,
        services=tuple(ServiceState(service=service, checks=checks) for service in services or ("edge",)),
    )
    return Heard(report, first_at, last_at, NOW - last_at, presence)


def silent(name: str, *services: str, last_at: float = NOW - 60) -> Heard:
    return heard(name, *services, presence=Presence.SILENT, last_at=last_at)


def shown(*processes: Heard, forgotten_after: float = 900.0) -> dict[str, list[tuple[str, bool]]]:
    found = instances_of(processes, NOW, forgotten_after)
    return {service: [(one.instance, one.silent) for one in those] for service, those in found.items()}


def test_a_process_stands_under_each_of_its_services() -> None:
    found = instances_of([heard("a", "edge", "access", fault="away")], NOW, 900.0)
    assert set(found) == {"edge", "access"}
    (edge,) = found["edge"]
    assert (edge.ready, edge.silent, edge.faults) == (False, False, (CheckResult(name="store", fault="away"),))


def test_who_ends_in_order_is_not_shown() -> None:
    assert shown(heard("a", presence=Presence.STOPPING), heard("b", presence=Presence.STOPPED)) == {}


def test_a_silent_process_is_shown_until_one_that_came_after_it_has_its_place() -> None:
    before = heard("b", first_at=NOW - 500)
    assert shown(silent("a"), before) == {"edge": [("b", False), ("a", True)]}
    assert shown(silent("a"), before, heard("c", first_at=NOW - 30)) == {"edge": [("b", False), ("c", False)]}


def test_a_process_of_many_services_is_replaced_when_all_of_them_are() -> None:
    gone, first = silent("a", "edge", "access"), heard("b", "edge", first_at=NOW - 30)
    assert shown(gone, first) == {"edge": [("b", False), ("a", True)], "access": [("a", True)]}
    assert shown(gone, first, heard("c", "access", first_at=NOW - 20)) == {
        "edge": [("b", False)],
        "access": [("c", False)],
    }


def test_a_silent_process_is_forgotten() -> None:
    assert shown(silent("a", last_at=NOW - 901)) == {}
    assert shown(silent("a", last_at=NOW - 899)) == {"edge": [("a", True)]}
