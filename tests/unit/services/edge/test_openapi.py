"""The OpenAPI document: complete, and its examples are what its schemas say."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.workflow import WorkflowDefinition, find_cycle, structure_faults
from services.edge import examples
from services.edge.app import create_application
from services.edge.problems import KINDS
from services.edge.yaml_values import load_yaml
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.settings import Settings
from tests.support.memory_store import MemoryStore

API = "/api/v1"


@cache
def document() -> dict[str, Any]:
    app = create_application(Settings(), MemoryStore(), DirectBus(DirectBroker()))
    made: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return made


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON body, of requests and of responses, that has an example."""
    for name, operation in operations():
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for part, body in bodies.items():
            for media_type, content in body.get("content", {}).items():
                if media_type.endswith("json") and "schema" in content:
                    yield f"{name} {part}", content


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in contents()])
def test_examples_fit_their_schemas(content: dict[str, Any]) -> None:
    shown = [content["example"]] if "example" in content else []
    shown += [example["value"] for example in content.get("examples", {}).values()]
    schema = {**content["schema"], "components": document()["components"]}
    for example in shown:
        faults = [error.message for error in Draft202012Validator(schema).iter_errors(example)]
        assert faults == []


def test_there_are_examples_for_every_body_of_the_api() -> None:
    api = [(name, content) for name, content in contents() if API in name]
    assert len(api) > 60
    without = [name for name, content in api if "example" not in content and "examples" not in content]
    assert without == []


def test_every_reference_leads_somewhere() -> None:
    parts = json.dumps(document()).split('"#/components/schemas/')[1:]
    assert {part.split('"')[0] for part in parts} <= document()["components"]["schemas"].keys()


def test_operations_have_names_of_their_own_and_summaries() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for _, operation in operations())


def test_every_call_of_the_api_documents_that_something_may_be_away() -> None:
    for name, operation in operations():
        if API in name:
            assert "application/problem+json" in operation["responses"]["503"]["content"], name


def test_the_example_definitions_are_valid_and_the_same_graph() -> None:
    parsed = [WorkflowDefinition.model_validate(d) for d in (examples.DEFINITION, load_yaml(examples.DEFINITION_YAML))]
    for definition in parsed:
        assert structure_faults(definition) == []
        assert find_cycle(definition.declared_dependencies()) is None
        assert definition.declared_dependencies() == {"step1": (), "step2": ("step1",)}


def test_problem_examples_are_of_the_kinds_there_are() -> None:
    for status, example in examples.PROBLEMS.items():
        kind = example["type"].removeprefix("urn:conclave:problem:")
        assert KINDS[kind] == (status, example["title"])
        assert example["status"] == status
