"""Definitions that are too deep, too large or too many are refused with a path, and others are served meanwhile."""

import json
from typing import Any

import httpx
import pytest

from contracts.workflow import MAX_STEPS
from services.edge.yaml_values import MAX_DEPTH
from services.runtime.definitions.definition_reader import MAX_DEPENDENCIES, MAX_EXPRESSIONS
from services.runtime.definitions.json_values import MAX_VALUES
from services.runtime.definitions.lint import MAX_FAULTS
from tests.support.attacks import JSON, YAML, meanwhile, nested, refused, told
from tests.support.edge_world import API, definition, step

DEEP = '{"name": "deep", "steps": [{"id": "a", "agent_type": "x", "action": "y", "inputs": ' + nested(10_000) + "}]}"
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


def first(problem: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = problem["errors"][0]
    return found


@pytest.mark.parametrize("path", ["/workflows", "/executions", "/agents", "/agents/desk_agent/message"])
async def test_json_of_10_000_levels_is_refused_wherever_json_is_taken(client: httpx.AsyncClient, path: str) -> None:
    answer, _ = await meanwhile(client, told(client, API + path, content=DEEP, headers=JSON))
    problem = refused(answer, 400)
    assert "recursion limit" in first(problem)["message"]
    assert first(problem)["path"] == "body"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (nested(10_000, "[", "]"), "yaml_syntax"),
        (nested(10_000, "{a: ", "}"), "yaml_syntax"),
        ("".join(" " * i + "a:\n" for i in range(2_000)), "yaml_syntax"),
        (LAUGHS, "yaml_syntax"),
        ("a: &a [*a]", "yaml_syntax"),
        ("base: &b {x: 1}\nsteps:\n  - <<: *b", "yaml_syntax"),
        ("name: !!python/object/apply:os.system ['true']", "yaml_syntax"),
        ("name: a\nname: b", "yaml_syntax"),
        ("n: " + "9" * 100_000, "yaml_syntax"),
        ('name: "\\ud800"', "yaml_syntax"),
        ("name: a\0b", "yaml_syntax"),
    ],
)
async def test_yaml_bombs_are_refused_with_a_line(client: httpx.AsyncClient, text: str, code: str) -> None:
    answer, _ = await meanwhile(client, told(client, f"{API}/workflows", content=text.encode(), headers=YAML))
    fault = first(refused(answer, 400))
    assert fault["code"] == code
    assert int(fault["line"]) >= 1


async def test_a_definition_just_too_deep_names_the_input(client: httpx.AsyncClient) -> None:
    inputs = json.loads(nested(MAX_DEPTH - 5))
    answer = await told(client, f"{API}/workflows", json=definition(step("a", data=inputs)))
    fault = first(refused(answer))
    assert fault["code"] == "too_deep"
    assert fault["path"].startswith("steps[0].inputs.data.a.a")


def many_steps() -> dict[str, Any]:
    return definition(*[step(f"s{i}") for i in range(MAX_STEPS + 1)])


def many_values() -> dict[str, Any]:
    return definition(step("a", data=[0] * (MAX_VALUES + 1)))


def many_expressions() -> dict[str, Any]:
    return definition(step("a", data=["${1+1}"] * (MAX_EXPRESSIONS + 1)))


def long_expressions() -> dict[str, Any]:
    return definition(*[{**step(f"s{i}"), "when": "true " + " " * 2_000} for i in range(600)])


def many_dependencies() -> dict[str, Any]:
    return definition(step("a"), step("b", *["a"] * (MAX_DEPENDENCIES + 1)))


def many_unknown_fields() -> dict[str, Any]:
    return {**definition(step("a")), **{f"f{i}": 1 for i in range(100_000)}}


def long_names() -> dict[str, Any]:
    return {**definition({**step("a"), "id": "x" * 1_000_000}), "y" * 1_000_000: 1}


def unknown_dependencies() -> dict[str, Any]:
    return definition(step("a", *["z" * 100_000] * 20), *[step(f"s{i}") for i in range(2_000)])


def huge_agents() -> dict[str, Any]:
    agents = [f"agent_type_number_{i}" for i in range(1_000)]
    return {**definition(*[step(f"s{i}") for i in range(4_000)]), "agents": agents}


def long_paths_of_many_faults() -> dict[str, Any]:
    below: Any = {f"k{i}": float("1e300") for i in range(50)} | {"\u0000": 1}
    for _ in range(50):
        below = {"p" * 9_000: below}
    return definition(*[step(f"s{i}", data=below) for i in range(10)])


@pytest.mark.parametrize(
    ("make", "code", "path", "takes_time"),
    [
        (many_steps, "invalid_value", "steps", True),
        (many_values, "too_large", "", True),
        (many_expressions, "too_many", "steps", False),
        (long_expressions, "too_many", "steps", False),
        (many_dependencies, "too_many", "dependencies", True),
        (many_unknown_fields, "unknown_field", "f0", True),
        (long_names, "bad_key", '["yyy', False),
        (unknown_dependencies, "unknown_step", "steps[0].depends_on[0]", False),
        (huge_agents, "agent_not_listed", "steps[0].agent_type", True),
        (long_paths_of_many_faults, "bad_key", "steps[0].inputs", False),
    ],
)
async def test_what_is_too_much_is_refused_and_others_are_served(
    client: httpx.AsyncClient, make: Any, code: str, path: str, takes_time: bool
) -> None:
    body = json.dumps(make()).encode()
    answer, others = await meanwhile(client, told(client, f"{API}/workflows", content=body, headers=JSON))
    problem = refused(answer)
    assert first(problem)["code"] == code
    assert first(problem)["path"].startswith(path)
    assert len(problem["errors"]) <= MAX_FAULTS + 1
    assert others >= takes_time  # what is refused within milliseconds, nobody else has to wait for


async def test_very_many_faults_are_counted_and_not_all_listed(client: httpx.AsyncClient) -> None:
    answer = await told(client, f"{API}/workflows", json=many_unknown_fields())
    errors = refused(answer)["errors"]
    assert len(errors) == MAX_FAULTS + 1
    assert errors[-1]["code"] == "more_faults"


@pytest.mark.parametrize(
    "value",
    ['"\\ud800"', "1" * 5_000, "-" + "9" * 400, "1e999", "NaN", '{"\\u0000": 1}', '{"a": 1, "a": 2}'],
)
async def test_values_that_no_store_or_wire_holds(client: httpx.AsyncClient, value: str) -> None:
    """Refused, or, for the repeated key, read as JSON has it; never a fault of ours."""
    text = json.dumps(definition(step("a", data="VALUE"))).replace('"VALUE"', value)
    answer = await told(client, f"{API}/workflows", content=text.encode(), headers=JSON)
    assert answer.status_code in ((201,) if '"a": 1' in value else (400, 422)), answer.text
