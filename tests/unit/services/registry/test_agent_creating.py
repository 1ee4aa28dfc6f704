"""Whether an agent may be created, and under which id."""

import re
from typing import Any

import pytest

from contracts.agents import AgentDescriptor, AgentLimits, AgentRecord, AgentStatus
from contracts.execution import Refused
from contracts.registry import CreateAgent
from contracts.workflow import ID_PATTERN, Fault
from services.registry.creating import chosen_id, could_not_start, first_record, meets, refused

KNOWN = {kind: AgentDescriptor(agent_type=kind) for kind in ("clerk", "cook")}


def command(**fields: Any) -> CreateAgent:
    return CreateAgent(**{"agent_type": "clerk", "agent_id": "ann", **fields})


def record(**fields: Any) -> AgentRecord:
    values = {"agent_id": "ann", "agent_type": "clerk", "created_at": 1.0, "request_id": "r1"}
    return AgentRecord(**{**values, **fields})


def test_an_id_that_is_made_is_the_same_for_the_same_request() -> None:
    one = command(agent_id=None)
    assert chosen_id(one, "r1") == chosen_id(one, "r1")
    assert chosen_id(one, "r1") != chosen_id(one, "r2")
    assert chosen_id(one, "r1").startswith("clerk-")
    assert chosen_id(command(), "r1") == "ann"
    long = chosen_id(command(agent_id=None, agent_type="c" * 64), "r1")
    assert len(long) == 64
    assert re.fullmatch(ID_PATTERN, long)


@pytest.mark.parametrize(
    ("fields", "live", "agents", "code", "path", "words"),
    [
        ({"agent_id": "any"}, 1, 0, "invalid", "agent_id", "'any' stands for"),
        ({"agent_type": "cat"}, 1, 0, "invalid", "agent_type", "no agent type 'cat'; there are: clerk, cook"),
        ({}, 1, 2, "limit_reached", "", "there are 2 agents, and MAX_AGENTS=2 allows no more"),
        ({}, 0, 0, "unavailable", "", "no host of agent type 'clerk' is running"),
    ],
)
def test_what_may_not_be_created_is_refused_with_words(
    fields: dict[str, Any], live: int, agents: int, code: str, path: str, words: str
) -> None:
    one = command(**fields)
    found = refused(one, chosen_id(one, "r"), KNOWN, live, agents, 2)
    assert found is not None
    assert (found.code, [fault.path for fault in found.faults]) == (code, [path] if path else [])
    assert words in found.message


def test_what_may_be_created_is_not_refused() -> None:
    assert refused(command(), "ann", KNOWN, 1, 1, 2) is None
    limits = AgentLimits(concurrency=2)
    found = first_record(command(config={"a": 1}, limits=limits), "ann", "r1", KNOWN["clerk"], 7.0)
    assert (found.status, found.config, found.limits) == (AgentStatus.STARTING, {"a": 1}, limits)
    assert (found.request_id, found.created_at, found.default, found.hosts) == ("r1", 7.0, False, ())


@pytest.mark.parametrize(
    ("fields", "kept", "request_id", "verdict"),
    [
        ({}, {}, "r1", "wait"),
        ({}, {"status": AgentStatus.IDLE}, "r1", "exists"),
        ({}, {"status": AgentStatus.ERROR}, "r1", "exists"),
        ({"config": {"a": 1}}, {}, "r1", "conflict"),
        ({"agent_type": "cook"}, {}, "r1", "conflict"),
        ({}, {"status": AgentStatus.STOPPING}, "r1", "conflict"),
        ({}, {"status": AgentStatus.STOPPING}, "r2", "conflict"),
        ({}, {}, "r2", "already_exists"),
        ({"if_absent": True}, {}, "r2", "exists"),
        ({"if_absent": True, "config": {"a": 1}}, {"status": AgentStatus.IDLE}, "r2", "exists"),
        ({"if_absent": True, "agent_type": "cook"}, {}, "r2", "already_exists"),
        ({"if_absent": True}, {"default": True}, "r2", "already_exists"),
        ({}, {"request_id": ""}, "", "already_exists"),
    ],
)
def test_a_command_that_finds_an_agent_of_its_id(
    fields: dict[str, Any], kept: dict[str, Any], request_id: str, verdict: str
) -> None:
    found = meets(command(**fields), record(**kept), request_id)
    assert (found.code if isinstance(found, Refused) else found) == verdict


def test_a_configuration_that_does_not_fit_is_told_with_its_faults() -> None:
    faults = (Fault(path="config.desk", code="bad", message="is no number"),)
    found = could_not_start(record(), "", faults)
    assert (found.code, found.faults) == ("invalid", faults)
    assert "config.desk: is no number" in found.message
    assert could_not_start(record(), "the desk is locked", ()).message.endswith("cannot be started: the desk is locked")
