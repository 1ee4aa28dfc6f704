"""What an agent's record becomes by what its hosts say and by their silence."""

from typing import Any

import pytest

from contracts.agents import AgentDescriptor, AgentRecord, AgentState, AgentStatus, Capability
from contracts.hosts import AgentTaken
from services.registry.records import announced, default_agent, heard, is_finished, kept_by, stopping, taken

IDLE, PROCESSING, ERROR = AgentStatus.IDLE, AgentStatus.PROCESSING, AgentStatus.ERROR
STARTING, STOPPING, STOPPED = AgentStatus.STARTING, AgentStatus.STOPPING, AgentStatus.STOPPED
UNAVAILABLE = AgentStatus.UNAVAILABLE


def record(status: AgentStatus = STARTING, *hosts: str, **fields: Any) -> AgentRecord:
    values = {"agent_id": "ann", "agent_type": "clerk", "created_at": 1.0, "status": status, "hosts": hosts}
    return AgentRecord(**{**values, **fields})


def said(**statuses: AgentStatus) -> dict[str, AgentState]:
    return {
        host_id: AgentState(agent_id="ann", status=status, error="broken" if status is ERROR else "")
        for host_id, status in statuses.items()
    }


def of(after: AgentRecord) -> tuple[AgentStatus, tuple[str, ...]]:
    return after.status, after.hosts


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        (record(), said(h1=IDLE), (IDLE, ("h1",))),
        (record(), said(h1=STARTING), (STARTING, ())),
        (record(), {}, (STARTING, ())),
        (record(IDLE, "h2"), said(h1=IDLE, h2=PROCESSING), (PROCESSING, ("h1", "h2"))),
        (record(PROCESSING, "h1", "h2"), said(h1=IDLE, h2=IDLE), (IDLE, ("h1", "h2"))),
        (record(IDLE, "h1", "h2"), said(h2=PROCESSING), (PROCESSING, ("h2",))),
        (record(IDLE, "h1"), {}, (UNAVAILABLE, ())),
        (record(UNAVAILABLE), said(h1=IDLE), (IDLE, ("h1",))),
        (record(UNAVAILABLE), {}, (UNAVAILABLE, ())),
        (record(IDLE, "h1"), said(h1=ERROR), (ERROR, ())),
        (record(IDLE, "h1", "h2"), said(h1=ERROR, h2=IDLE), (IDLE, ("h2",))),
        (record(ERROR), {}, (ERROR, ())),
        (record(ERROR), said(h1=STARTING), (ERROR, ())),
        (record(ERROR, error="broken"), said(h1=IDLE), (IDLE, ("h1",))),
    ],
)
def test_a_heartbeat_says_who_runs_an_agent_and_how_it_does(
    before: AgentRecord, words: dict[str, AgentState], after: tuple[AgentStatus, tuple[str, ...]]
) -> None:
    found = heard(before, "h1", words)
    assert of(found) == after
    assert found.error == ("broken" if found.status is ERROR and words.get("h1") == said(h1=ERROR)["h1"] else "")
    assert heard(found, "h1", words) == found


@pytest.mark.parametrize(
    ("state", "hosts"), [(IDLE, ("h1",)), (STOPPING, ("h1",)), (STARTING, ("h1",)), (STOPPED, ()), (ERROR, ())]
)
def test_an_agent_that_is_being_stopped_is_finished_when_no_host_has_it(
    state: AgentStatus, hosts: tuple[str, ...]
) -> None:
    found = heard(stopping(record(IDLE, "h1")), "h1", said(h1=state))
    assert of(found) == (STOPPING, hosts)
    assert is_finished(found) is (not hosts)


def test_nothing_but_its_end_follows_from_stopping() -> None:
    found = stopping(record(IDLE, "h1", "h2"))
    assert of(heard(found, "h1", {})) == (STOPPING, ("h2",))
    assert of(kept_by(found, {"h1"}, {})) == (STOPPING, ("h1",))
    assert of(taken(found, AgentTaken(host_id="h3", agent_id="ann", ok=True), said(h3=IDLE))) == (
        STOPPING,
        ("h1", "h2", "h3"),
    )
    assert not is_finished(record(IDLE))


def test_what_a_host_takes_it_runs_with_what_it_can_do() -> None:
    message = AgentTaken(host_id="h1", agent_id="ann", ok=True, capabilities=("write", "read"))
    found = taken(record(capabilities=("write",)), message, said(h1=IDLE))
    assert (of(found), found.capabilities) == ((IDLE, ("h1",)), ("write", "read"))
    silent = taken(record(capabilities=("write",)), message.model_copy(update={"capabilities": ()}), said(h1=IDLE))
    assert silent.capabilities == ("write",)


def test_a_host_that_cannot_start_it_makes_an_error_only_where_no_other_runs_it() -> None:
    message = AgentTaken(host_id="h1", agent_id="ann", ok=False, error="broken")
    alone = taken(record(), message, said(h1=ERROR))
    assert (of(alone), alone.error) == ((ERROR, ()), "broken")
    assert of(taken(record(IDLE, "h2"), message, said(h1=ERROR, h2=IDLE))) == (IDLE, ("h2",))


def test_silence_of_every_host_makes_it_unavailable_and_of_one_does_not() -> None:
    found = record(PROCESSING, "h1", "h2")
    assert of(kept_by(found, {"h2"}, said(h2=PROCESSING))) == (PROCESSING, ("h2",))
    assert of(kept_by(found, {"h3"}, {})) == (UNAVAILABLE, ())
    assert of(kept_by(record(), set(), {})) == (STARTING, ())
    # After a restart of the registry no host has spoken yet, and nothing is made worse by that.
    assert of(kept_by(found, {"h1", "h2"}, {})) == (PROCESSING, ("h1", "h2"))


def test_a_default_agent_is_there_with_its_type() -> None:
    capability = Capability(name="write", input_schema={}, output_schema={})
    descriptor = AgentDescriptor(agent_type="clerk", capabilities=(capability,))
    first = default_agent(AgentDescriptor(agent_type="clerk"), 5.0)
    assert (first.agent_id, first.agent_type, first.default, first.capabilities) == ("clerk", "clerk", True, ())
    found = announced(first, descriptor, "h1", said(h1=IDLE))
    assert (of(found), found.capabilities, found.created_at) == ((IDLE, ("h1",)), ("write",), 5.0)
    gone = kept_by(found, (), {})
    assert of(gone) == (UNAVAILABLE, ())
    assert of(announced(gone, descriptor, "h2", said(h2=IDLE))) == (IDLE, ("h2",))
