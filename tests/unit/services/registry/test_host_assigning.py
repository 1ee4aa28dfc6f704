"""What a host is told to run and to give up."""

from typing import Any

import pytest

from contracts.agents import AgentRecord, AgentState, AgentStatus
from contracts.hosts import HostAssignment
from services.registry.assigning import assignment, to_stop


def agent(agent_id: str, status: AgentStatus = AgentStatus.IDLE, **fields: Any) -> AgentRecord:
    return AgentRecord(**{"agent_id": agent_id, "agent_type": "clerk", "created_at": 1.0, "status": status, **fields})


def has(**statuses: AgentStatus) -> dict[str, AgentState]:
    return {agent_id: AgentState(agent_id=agent_id, status=status) for agent_id, status in statuses.items()}


def told(found: HostAssignment | None) -> tuple[list[str], list[str]]:
    return ([spec.agent_id for spec in found.run], list(found.stop)) if found else ([], [])


DEFAULT = agent("clerk", default=True)
RECORDS = [DEFAULT, agent("ann"), agent("bob", AgentStatus.UNAVAILABLE, config={"desk": 1})]


@pytest.mark.parametrize(
    ("records", "states", "run", "stop"),
    [
        (RECORDS, {}, ["ann", "bob"], []),
        (RECORDS, has(clerk=AgentStatus.IDLE, ann=AgentStatus.IDLE), ["bob"], []),
        (RECORDS, has(ann=AgentStatus.PROCESSING, bob=AgentStatus.STARTING), [], []),
        (RECORDS, has(ann=AgentStatus.ERROR, bob=AgentStatus.STOPPED), ["ann", "bob"], []),
        (RECORDS, has(ann=AgentStatus.IDLE, bob=AgentStatus.STOPPING), [], []),
        (RECORDS, has(ann=AgentStatus.IDLE, bob=AgentStatus.IDLE, cleo=AgentStatus.IDLE), [], ["cleo"]),
        ([DEFAULT, agent("ann", AgentStatus.STOPPING)], has(ann=AgentStatus.IDLE), [], ["ann"]),
        ([DEFAULT, agent("ann", AgentStatus.STOPPING)], {}, [], []),
        ([], has(clerk=AgentStatus.IDLE), [], []),
    ],
)
def test_a_host_is_told_where_it_differs_from_the_records(
    records: list[AgentRecord], states: dict[str, AgentState], run: list[str], stop: list[str]
) -> None:
    assert told(assignment("h1", ["clerk"], records, states)) == (run, stop)


def test_what_is_to_be_run_comes_with_its_configuration() -> None:
    found = assignment("h1", ["clerk"], RECORDS, has(ann=AgentStatus.IDLE))
    assert found is not None
    assert found.host_id == "h1"
    assert found.run == (RECORDS[2].spec,)
    assert found.run[0].config == {"desk": 1}


def test_each_host_is_told_once_to_stop() -> None:
    assert to_stop("ann", ["h2", "h1", "h2"]) == [
        HostAssignment(host_id="h1", stop=("ann",)),
        HostAssignment(host_id="h2", stop=("ann",)),
    ]
