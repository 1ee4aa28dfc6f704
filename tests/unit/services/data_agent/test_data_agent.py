"""The agent as its host uses it: plain JSON in, plain JSON out, several calls at once."""

import asyncio
import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.data_agent.agent import DataAgent
from services.runtime.agent import AgentStopped, CapabilityError

EXAMPLES = Path(__file__).resolve().parents[4] / "examples" / "data"


@pytest.fixture
async def agent() -> AsyncIterator[DataAgent]:
    made = DataAgent("data-1", {"data_folder": str(EXAMPLES), "workers": 2})
    await made.start()
    yield made
    await made.stop()


async def test_the_example_of_the_specification(agent) -> None:
    step = {"agent_type": "data_agent", "action": "process_data", "inputs": {"data_source": "test_data"}}
    assert step["agent_type"] == agent.agent_type
    output = await agent.perform(step["action"], step["inputs"])
    assert output["row_count"] == 8
    assert output["records"][0]["name"] == "Alder"
    types = {column["name"]: column["type"] for column in output["columns"]}
    assert types == {
        "name": "VARCHAR",
        "price": "DOUBLE",
        "quality": "DOUBLE",
        "delivery_days": "BIGINT",
        "warranty_years": "BIGINT",
        "in_stock": "BOOLEAN",
    }
    assert json.loads(json.dumps(output, allow_nan=False)) == output


async def test_one_step_feeds_the_next(agent) -> None:
    first = await agent.perform("process_data", {"data_source": "test_data"})
    second = await agent.perform(
        "process_data",
        {
            "data_source": first,
            "operations": [
                {"op": "fill", "columns": ["delivery_days"], "method": "median"},
                {"op": "filter", "where": "in_stock AND price < 1300"},
                {"op": "sort", "by": [{"column": "quality", "descending": True}]},
                {"op": "select", "columns": ["name", "quality", "delivery_days"]},
            ],
        },
    )
    assert second["records"] == [
        {"name": "Larch", "quality": 8.3, "delivery_days": 9.0},
        {"name": "Alder", "quality": 7.8, "delivery_days": 12.0},
        {"name": "Birch", "quality": 6.9, "delivery_days": 5.0},
        {"name": "Pine", "quality": 6.1, "delivery_days": 4.0},
    ]
    third = await agent.perform("query", {"sql": "SELECT max(quality) AS best FROM data", "data_source": second})
    assert third["records"] == [{"best": 8.3}]
    checked = await agent.perform("validate_data", {"data_source": third["records"], "rules": {"best": {"max": 8}}})
    assert (checked["valid"], checked["failure_count"]) == (False, 1)
    described = await agent.perform("profile", {"data_source": first, "columns": ["price"]})
    assert described["columns"][0]["count"] == 8


def test_the_four_actions_and_their_schemas() -> None:
    agent = DataAgent("data-1")
    assert agent.get_capabilities() == ["process_data", "profile", "query", "validate_data"]
    for found in agent.describe().capabilities:
        Draft202012Validator.check_schema(found.input_schema)
        Draft202012Validator.check_schema(found.output_schema)
        assert found.description
        for example in found.input_schema["examples"]:
            assert Draft202012Validator(found.input_schema).is_valid(example)


async def test_answers_fit_the_declared_output_schemas(agent) -> None:
    rows = [{"a": 1, "t": "x", "n": None, "l": [1, {"b": None}], "big": 2**70}]
    calls: dict[str, dict[str, Any]] = {
        "process_data": {"data_source": rows, "operations": [{"op": "limit", "count": 1}]},
        "query": {"data_source": rows, "sql": "SELECT * FROM data"},
        "validate_data": {"data_source": rows, "rules": {"a": {"min": 2}, "z": {"unique": True}}},
        "profile": {"data_source": rows},
    }
    schemas = {found.name: found.output_schema for found in agent.describe().capabilities}
    for action, inputs in calls.items():
        output = await agent.perform(action, inputs)
        assert list(Draft202012Validator(schemas[action]).iter_errors(output)) == []


async def test_many_calls_at_once_each_get_their_own_answer(agent) -> None:
    async def call(number: int) -> list[dict[str, Any]]:
        source = "test_data" if number % 2 else [{"name": f"row {number}", "price": number}]
        operations = [{"op": "derive", "columns": {"who": f"name || ' of {number}'"}}, {"op": "limit", "count": 1}]
        return (await agent.perform("process_data", {"data_source": source, "operations": operations}))["records"]

    answers = await asyncio.gather(*(call(number) for number in range(40)))
    expected = [f"Alder of {number}" if number % 2 else f"row {number} of {number}" for number in range(40)]
    assert [answer[0]["who"] for answer in answers] == expected


async def test_errors_come_out_by_name(agent) -> None:
    cases = [
        ({"data_source": "tset_data"}, "SourceNotFound", "test_data.csv"),
        ({"data_source": "../README.md"}, "ForbiddenPath", "may not be read"),
        (
            {"data_source": "test_data", "operations": [{"op": "filter", "where": "prize > 1"}]},
            "UnknownColumn",
            "price",
        ),
        ({"data_source": "test_data", "operations": [{"op": "filtre"}]}, "InvalidInputs", "operations.0"),
        ({"data_source": 5}, "InvalidInputs", "a data source is the name of a file"),
        ({}, "InvalidInputs", "data_source"),
        ({"data_source": [{"a": {"b": object()}}]}, "InvalidInputs", "data_source"),
    ]
    for inputs, code, told in cases:
        with pytest.raises(CapabilityError) as caught:
            await agent.perform("process_data", inputs)
        assert caught.value.code == code
        assert told in str(caught.value)


async def test_nan_and_infinity_in_the_inputs_reach_the_worker(agent) -> None:
    output = await agent.perform("process_data", {"data_source": [{"v": math.nan}, {"v": math.inf}, {"v": 1.0}]})
    assert [row["v"] for row in output["records"]] == [None, None, 1.0]
    assert output["notes"] == ["column 'v': 1 NaN read as null", "column 'v': 1 NaN or infinite values given as null"]


async def test_without_a_data_folder_names_are_refused_and_records_work() -> None:
    agent = DataAgent("data-2", {"workers": 1})
    await agent.start()
    try:
        with pytest.raises(CapabilityError, match="has no data folder") as caught:
            await agent.perform("process_data", {"data_source": "test_data"})
        assert caught.value.code == "NoDataFolder"
        assert (await agent.perform("process_data", {"data_source": [{"a": 1}]}))["records"] == [{"a": 1}]
    finally:
        await agent.stop()


async def test_limits_of_the_configuration_hold() -> None:
    agent = DataAgent("data-3", {"max_output_rows": 2, "max_input_rows": 5, "workers": 1})
    hurried = DataAgent("data-3", {"time_limit_seconds": 0.5, "workers": 1})
    await agent.start()
    await hurried.start()
    try:
        output = await agent.perform("process_data", {"data_source": [{"a": 1}] * 5, "max_rows": 4})
        assert (output["row_count"], output["total_rows"], output["truncated"]) == (2, 5, True)
        with pytest.raises(CapabilityError, match="more than 5 rows"):
            await agent.perform("process_data", {"data_source": [{"a": 1}] * 6})
        with pytest.raises(CapabilityError, match=r"0\.5 s"):
            await hurried.perform("query", {"sql": "SELECT count(*) FROM range(1000000000000)", "timeout_seconds": 60})
    finally:
        await agent.stop()
        await hurried.stop()


async def test_start_and_stop() -> None:
    agent = DataAgent("data-4", {"workers": 1})
    inputs = {"data_source": [{"a": 1}]}
    with pytest.raises(AgentStopped):
        await agent.perform("process_data", inputs)
    for _ in range(2):
        await agent.start()
        assert (await agent.perform("process_data", inputs))["row_count"] == 1
        await agent.stop()


@pytest.mark.parametrize(
    "config", [{"max_rows": 5}, {"workers": 0}, {"time_limit_seconds": -1}, {"memory_limit_mb": 1}, {"data_folder": 5}]
)
def test_a_bad_configuration_is_refused_by_name(config) -> None:
    with pytest.raises(ValueError, match=next(iter(config))):
        DataAgent("data-5", config)


def test_describing_the_agent_needs_no_engine_and_starts_nothing() -> None:
    """A host announces its agents at once; the engine is loaded in the worker processes only."""
    code = (
        "import sys; from services.data_agent.agent import DataAgent; DataAgent('a').describe();"
        "print(sorted({'duckdb', 'multiprocessing'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=EXAMPLES.parents[1], check=True
    )
    assert told.stdout.strip() == "[]"
