"""How the API shows what the monitor says: every field of the contract, with times of day for epoch seconds."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.envelope import Contract
from contracts.monitoring import WINDOWS
from contracts.monitoring_health import AgentFault, AgentsView, HealthView, QueuesView, WorkflowsView
from contracts.monitoring_views import MetricsView, SystemView
from services.edge import monitoring_examples as examples
from services.edge.models import View
from services.edge.monitoring_models import (
    MonitoringAgents,
    MonitoringHealth,
    MonitoringMetrics,
    MonitoringQueues,
    MonitoringSystem,
    MonitoringWorkflows,
    Window,
    show,
    shown,
)

VIEWS: list[tuple[type[Contract], type[View], dict[str, Any]]] = [
    (HealthView, MonitoringHealth, examples.HEALTH),
    (HealthView, MonitoringHealth, examples.HEALTH_DOWN),
    (MetricsView, MonitoringMetrics, examples.METRICS),
    (AgentsView, MonitoringAgents, examples.AGENTS),
    (WorkflowsView, MonitoringWorkflows, examples.WORKFLOWS),
    (SystemView, MonitoringSystem, examples.SYSTEM),
    (QueuesView, MonitoringQueues, examples.QUEUES),
]
# The names of all times of day there are: a new one is to be looked at, whether it is one.
TIMES = {
    "at",
    "failing_since",
    "heard_at",
    "last_at",
    "last_ended_at",
    "last_heard_at",
    "measured_at",
    "seen_at",
    "since",
    "started_at",
}


def schemas(model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Each property of a model and of those within it, as its JSON."""
    document = model.model_json_schema(mode="serialization")
    for name, schema in {model.__name__: document, **document.get("$defs", {})}.items():
        for field, of in schema.get("properties", {}).items():
            yield name, field, json.dumps(of)


@pytest.mark.parametrize(("contract", "model"), dict.fromkeys((contract, model) for contract, model, _ in VIEWS))
def test_every_field_is_shown_and_just_the_times_are_times(contract: type[Contract], model: type[View]) -> None:
    said = {(name, field): of for name, field, of in schemas(contract)}
    told = {(name.removeprefix("Monitoring"), field): of for name, field, of in schemas(model)}
    assert told.keys() - said.keys() <= {("HealthView", "answered_by")}
    assert said.keys() <= told.keys()
    times = {field for (_, field), of in told.items() if "date-time" in of}
    assert times <= TIMES
    for (name, field), of in said.items():
        assert ("date-time" in told[name, field]) == (field in TIMES), (name, field)
        assert "date-time" not in of


@pytest.mark.parametrize(("contract", "model", "example"), VIEWS)
def test_the_examples_are_whole(contract: type[Contract], model: type[View], example: dict[str, Any]) -> None:
    assert model.model_validate(example).model_dump(mode="json", exclude_none=True) == example
    assert set(example) <= {*contract.model_fields, "answered_by"}


def test_times_are_shown_as_everywhere_in_the_api() -> None:
    view = show(MonitoringAgents, AgentsView(at=1_769_851_800.25, heard_for=2.500000123))
    assert view.model_dump()["at"] == datetime(2026, 1, 31, 9, 30, 0, 250_000, tzinfo=UTC)
    assert view.model_dump(mode="json")["heard_for"] == 2.5


def test_what_an_agent_says_of_its_fault_is_shown_without_secrets() -> None:
    model = shown(AgentFault)
    fault = AgentFault(agent_id="password=agent", status="error", error="login failed: password=hunter2")
    told = show(model, fault).model_dump()
    assert told["error"] == "login failed: password=***"
    assert told["agent_id"] == "password=agent"


def test_the_windows_are_those_of_the_contract() -> None:
    assert [window.value for window in Window] == list(WINDOWS)
