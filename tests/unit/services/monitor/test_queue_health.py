from typing import Any

import pytest

from contracts import topology
from contracts.agents import AgentRecord
from contracts.monitoring_health import DeadLetterFigures, QueueView, Severity
from services.monitor.percentiles import Distribution
from services.monitor.queue_flow import Flow
from services.monitor.queue_health import (
    by_family,
    dead_letter_findings,
    missing_queues,
    queue_findings,
    queue_views,
)
from services.monitor.queue_watch import Known, Measured, known_queues
from services.runtime.bus.base import QueueFigures

NOW = 1_800_000_000.0


def measured(known: Known, ready: int = 0, consumers: int = 1, growth: float | None = None) -> dict[str, Measured]:
    return {known.queue.name: Measured(known, QueueFigures(ready, None, consumers), NOW, growth, 60.0)}


CLERK = Known(topology.agent_type_queue("clerk"), "clerk")


def instance(agent_id: str) -> Known:
    return Known(topology.agent_queue("clerk", agent_id), "clerk", instance=True)


def test_rates_are_what_was_taken_and_what_there_is_more_of() -> None:
    flow = Flow(known=True, seconds=60.0, taken={"clerk": 120.0})
    (view,) = queue_views(measured(CLERK, ready=100, growth=0.5), flow)
    assert (view.out_rate, view.growth_rate, view.in_rate) == (2.0, 0.5, 2.5)
    # Both are measured, at moments that differ: nothing comes in at less than nothing.
    (view,) = queue_views(measured(CLERK, ready=100, growth=-3.0), flow)
    assert view.in_rate == 0.0


def test_what_nobody_counted_is_not_nothing() -> None:
    (view,) = queue_views(measured(CLERK, growth=0.5), Flow())
    assert (view.out_rate, view.in_rate, view.growth_rate) == (None, None, 0.5)
    (view,) = queue_views(measured(CLERK, growth=0.5), Flow(known=True, seconds=60.0))
    assert (view.out_rate, view.in_rate) == (0.0, 0.5)


def test_queues_of_instances_are_shown_together_and_by_themselves_while_they_are_few() -> None:
    flow = Flow(known=True, seconds=60.0, taken={"clerk.agent": 60.0})
    few = {**measured(instance("ann"), 3, 2, 0.1), **measured(instance("bob"), 4, 1, 0.2), **measured(CLERK)}
    views = {view.name: view for view in queue_views(few, flow)}
    assert set(views) == {"", "clerk", "clerk.agent.ann", "clerk.agent.bob"}
    together = views[""]
    assert (together.family, together.queues, together.ready, together.consumers) == ("clerk.agent", 2, 7, 3)
    assert together.out_rate == 1.0
    assert together.growth_rate == pytest.approx(0.3)
    assert (views["clerk.agent.ann"].ready, views["clerk.agent.ann"].out_rate) == (3, None)
    many = {name: one for i in range(51) for name, one in measured(instance(f"a{i}"), 1).items()}
    assert [(view.name, view.queues, view.ready) for view in queue_views(many, flow)] == [("", 51, 51)]
    assert by_family(many.values()) == {"clerk.agent": (51, 51)}


def test_the_wait_is_that_of_what_was_received() -> None:
    waited = Distribution((1.0, 2.0), (50.0, 50.0, 0.0), 100.0)
    (view,) = queue_views(measured(CLERK), Flow(known=True, seconds=60.0, lags={"clerk": waited}))
    assert view.lag_p50 == 1.0
    assert view.lag_p95 == pytest.approx(1.9)


def view(**fields: Any) -> QueueView:
    given = {"name": "q", "family": "q", "owner": "clerk", "ready": 10, "consumers": 1, "measured_at": NOW}
    return QueueView(**{**given, "period": 60.0, "unacked": None, **fields})


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ready": 0, "consumers": 0}, ""),
        ({"consumers": 0}, "queue_unserved"),
        ({"consumers": 0, "name": "apart"}, ""),
        ({"out_rate": None}, ""),
        ({"out_rate": 5.0, "lag_p95": 1.0}, ""),
        ({"out_rate": 5.0, "lag_p95": 31.0}, "queue_behind"),
        ({"out_rate": 5.0, "lag_p95": 31.0, "ready": 0}, ""),  # a dead letter replayed after days
        ({"out_rate": 1.0, "ready": 31}, "queue_behind"),
        ({"out_rate": 1.0, "ready": 29}, ""),
        ({"out_rate": 0.0}, "queue_stalled"),
        ({"out_rate": 0.0, "period": 10.0}, ""),  # it was not watched for long enough
        ({"out_rate": 0.0, "name": "q.agent.ann", "family": "q.agent"}, ""),  # rates are of its family
        ({"out_rate": 0.0, "name": "", "family": "q.agent"}, "queue_stalled"),
    ],
)
def test_what_is_wrong_with_a_queue(fields: dict[str, Any], code: str) -> None:
    found = list(queue_findings([view(**fields)], ["apart"], 30.0))
    assert [one.code for one in found] == ([code] if code else [])


def test_a_queue_that_nobody_serves_names_who_should() -> None:
    (found,) = queue_findings([view(consumers=0)], [], 30.0)
    assert (found.severity, found.subject) == (Severity.ERROR, "queue:q")
    assert found.what == "10 messages wait in q, and nobody takes from it"
    assert "clerk" in found.what_to_do


def letters(**fields: Any) -> DeadLetterFigures:
    return DeadLetterFigures(**{"window": 300.0, "limit": 1_000, **fields})


def test_dead_letters_that_come_in_and_those_that_cannot_be_stored() -> None:
    assert list(dead_letter_findings(letters())) == []
    assert list(dead_letter_findings(letters(stored=5, arrived=0, unstorable=0))) == []
    (found,) = dead_letter_findings(letters(stored=5, arrived=2))
    assert (found.code, found.what) == ("dead_letters_arriving", "2 messages became dead letters within 300 s")
    (found,) = dead_letter_findings(letters(arrived=1_000))
    assert found.what.startswith("1000 or more")
    (found,) = dead_letter_findings(letters(unstorable=1))
    assert found.code == "dead_letters_unstorable"


def test_which_queues_there_should_be() -> None:
    agents = [
        AgentRecord(agent_id="clerk", agent_type="clerk", created_at=NOW, default=True),
        AgentRecord(agent_id="ann", agent_type="clerk", created_at=NOW),
    ]
    known = known_queues({"clerk": "clerk"}, agents)
    names = [one.queue.name for one in known]
    assert len(names) == len(set(names))
    assert {"orchestrator.shard.3", "registry", "dead-letters", "dead-letters.unstorable", "access"} <= set(names)
    assert [one.queue.name for one in known if one.owner == "clerk"] == ["clerk", "clerk.quarantine", "clerk.agent.ann"]
    there = {one.queue.name: Measured(one, QueueFigures(0, 0, 1), NOW) for one in known if one.queue.name != "access"}
    del there["clerk.agent.ann"]
    assert missing_queues(known, there) == ("access",)


def test_who_takes_from_a_types_queues_is_the_service_that_hosts_it() -> None:
    agents = [
        AgentRecord(agent_id="ann", agent_type="clerk", created_at=NOW),
        AgentRecord(agent_id="bob", agent_type="nobody_knows", created_at=NOW),
    ]
    owners = {one.queue.name: one.owner for one in known_queues({"clerk": "plugin_agent"}, agents)}
    names = ("clerk", "clerk.quarantine", "clerk.agent.ann", "nobody_knows.agent.bob")
    assert [owners[name] for name in names] == ["plugin_agent", "plugin_agent", "plugin_agent", "nobody_knows"]
