"""The statement for a page of agents."""

import pytest

from contracts.agents import AgentStatus
from contracts.registry import AgentFilter
from services.runtime.store.base import BadCursor, Page
from services.runtime.store.cursor import Cursor
from services.runtime.store.postgres_agents import page_of_agents


def test_all_agents_need_no_condition() -> None:
    assert page_of_agents(AgentFilter(), Page(5)) == (
        "SELECT agent_id, agent FROM agents ORDER BY agent_id LIMIT $1",
        [6],
    )


def test_every_condition_has_the_number_of_its_value() -> None:
    filter = AgentFilter(
        agent_type="t",
        capability="a\0b",
        statuses=(AgentStatus.IDLE, AgentStatus.ERROR),
        agent_ids=("a", "b"),
    )
    statement, values = page_of_agents(filter, Page(5, Cursor("agents", 0.0, "m").encode()))
    assert statement == (
        "SELECT agent_id, agent FROM agents WHERE agent_type = $1 AND capabilities @> $2::text[]"
        " AND status = ANY ($3::text[]) AND agent_id = ANY ($4::text[]) AND agent_id > $5 ORDER BY agent_id LIMIT $6"
    )
    assert values == ["t", ["a\\0b"], ["idle", "error"], ["a", "b"], "m", 6]


def test_of_nothing_nothing_is_found_which_is_not_the_same_as_of_anything() -> None:
    statement, values = page_of_agents(AgentFilter(agent_ids=(), statuses=()), Page(5))
    assert "status = ANY ($1::text[]) AND agent_id = ANY ($2::text[])" in statement
    assert values == [[], [], 6]


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(BadCursor):
        page_of_agents(AgentFilter(), Page(5, Cursor("workflows", 0.0, "m").encode()))
