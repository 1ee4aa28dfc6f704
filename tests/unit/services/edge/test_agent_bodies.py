"""What is asked about agents: bodies that are read, and what is said of those that are not."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from contracts.agents import AgentLimits, AgentStatus, CapabilityLimits
from contracts.registry import AgentFilter
from services.edge.agent_models import GivenFilter, NewAgent, NewBroadcast, NewMessage
from services.edge.problems import invalid


def paths(model: type[BaseModel], body: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    return [error["path"] for error in invalid(refused.value, below="body").members["errors"]]


@pytest.mark.parametrize("name", ["agent_id", "id"])
def test_the_id_has_two_names(name: str) -> None:
    assert NewAgent.model_validate({"agent_type": "a", name: "x1"}).chosen_id == "x1"


def test_without_an_id_it_is_made_elsewhere() -> None:
    assert NewAgent(agent_type="a").chosen_id is None
    assert NewAgent(agent_type="a", agent_id="x", id="x").chosen_id == "x"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["body.agent_type"]),
        ({"agent_type": "no such"}, ["body.agent_type"]),
        ({"agent_type": "a", "agent_id": "a/b"}, ["body.agent_id"]),
        ({"agent_type": "a", "id": "1"}, ["body.id"]),
        ({"agent_type": "a", "agent_id": "x" * 65}, ["body.agent_id"]),
        ({"agent_type": "a", "agent_id": "types"}, ["body.agent_id"]),
        ({"agent_type": "a", "agent_id": "x", "id": "y"}, ["body"]),
        ({"agent_type": "a", "config": []}, ["body.config"]),
        ({"agent_type": "a", "confg": {}}, ["body.confg"]),
        ({"agent_type": "a", "limits": {"rate": 0, "concurency": 1}}, ["body.limits.rate", "body.limits.concurency"]),
        ({"agent_type": "a", "limits": {"capabilities": {"x": {"speed": 1}}}}, ["body.limits.capabilities.x.speed"]),
    ],
)
def test_faults_of_a_new_agent_have_their_paths(body: dict[str, Any], expected: list[str]) -> None:
    assert paths(NewAgent, body) == expected


def test_limits_come_through() -> None:
    given = NewAgent.model_validate(
        {"agent_type": "a", "limits": {"rate": 2, "capabilities": {"work": {"concurrency": 1}}}}
    )
    wanted = AgentLimits(rate=2, capabilities={"work": CapabilityLimits(concurrency=1)})
    assert given.limits.limits == wanted
    assert NewAgent(agent_type="a").limits.limits == AgentLimits()


@pytest.mark.parametrize("name", ["payload", "message"])
def test_a_message_has_its_content_under_either_name(name: str) -> None:
    assert NewMessage.model_validate({name: {"a": 1}}).content == {"a": 1}
    assert NewMessage.model_validate({name: {}}).content == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["body"]),
        ({"payload": {}, "message": {}}, ["body"]),
        ({"payload": "text"}, ["body.payload"]),
        ({"payload": {}, "kind": "x"}, ["body.kind"]),
        ({"payload": {}, "message_type": "x" * 201}, ["body.message_type"]),
    ],
)
def test_faults_of_a_message_have_their_paths(body: dict[str, Any], expected: list[str]) -> None:
    assert paths(NewMessage, body) == expected


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, AgentFilter()),
        ({"status": "idle"}, AgentFilter(statuses=(AgentStatus.IDLE,))),
        ({"status": ["idle", "error"]}, AgentFilter(statuses=(AgentStatus.IDLE, AgentStatus.ERROR))),
        ({"agent_type": "a", "capability": "work"}, AgentFilter(agent_type="a", capability="work")),
    ],
)
def test_filters(given: dict[str, Any], wanted: AgentFilter) -> None:
    assert GivenFilter.model_validate(given).filter == wanted


def test_a_filter_that_says_nothing_known_is_refused_rather_than_sent_to_everyone() -> None:
    assert paths(NewBroadcast, {"payload": {}, "filter": {"typ": "a"}}) == ["body.filter.typ"]
    assert paths(NewBroadcast, {"payload": {}, "filter": {"status": "odd"}}) == ["body.filter.status[0]"]
