"""Schemas that would take for ever: what an agent announces cannot stop the service that checks definitions."""

from typing import Any

import pytest

from contracts.agents import AgentDescriptor, Capability
from services.runtime.definitions import schema_work
from services.runtime.definitions.input_schema import MAX_ERRORS, BadSchema, InputSchema
from services.runtime.definitions.lint import lint
from services.runtime.definitions.schema_work import has_repeated, matches

# Each of 40 refers to the next twice: a thousand thousand million ways through two kilobytes.
BOMB = {
    "properties": {"a": {"$ref": "#/$defs/d0"}, "b": {"type": "string"}},
    "$defs": {
        **{f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]} for i in range(40)},
        "d40": {"type": "string"},
    },
}


def test_a_schema_with_very_many_ways_through_it_is_left_to_the_agent() -> None:
    assert InputSchema(BOMB).faults({"a": 1}) == []
    assert InputSchema(BOMB).faults({"a": "fits at once"}) == []


def test_what_was_found_before_it_took_too_long_is_said() -> None:
    schema = {"required": ["c"], **BOMB}
    assert [fault.path for fault in InputSchema(schema).faults({"a": 1})] == [("c",)]


def test_a_definition_of_many_steps_counts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_work, "DEFINITION_UNITS", 3 * schema_work.STEP_UNITS)
    spent: list[int] = []
    before = schema_work.spend

    def counted(units: int = 1) -> None:
        spent.append(units)
        before(units)

    monkeypatch.setattr("services.runtime.definitions.input_schema.spend", counted)
    capability = Capability(name="do", input_schema=BOMB, output_schema={})
    agents = {"x": AgentDescriptor(agent_type="x", capabilities=(capability,))}
    steps = [{"id": f"s{i}", "agent_type": "x", "action": "do", "inputs": {"a": 1}} for i in range(50)]
    assert lint({"name": "n", "steps": steps}, agents)[1] == []
    assert sum(spent) < 3 * schema_work.STEP_UNITS + 50 * 100


@pytest.mark.parametrize("reference", ["http://127.0.0.1:1/x", "file:///etc/passwd", "https://example.test/s.json"])
def test_a_reference_out_of_the_schema_is_never_followed(reference: str) -> None:
    with pytest.raises(BadSchema, match="Unresolvable"):
        InputSchema({"properties": {"a": {"$ref": reference}}}).faults({"a": 1})


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "(.*a){25}b", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_no_pattern_takes_exponential_time(pattern: str) -> None:
    """With Python's own ``re`` the first takes longer than the universe has been there."""
    assert matches(pattern, "a" * 5_000 + "!") is False


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("[a-z]{1000}!", "a" * 1_000_000),  # states times characters
        ("a" * (schema_work.MAX_PATTERN + 1), "a"),
        (r"(\w{100}){100}", "a"),  # too large to compile
        ("(?<=a)b", "ab"),  # of another dialect
        ("(", "a"),
    ],
)
def test_a_pattern_that_would_take_too_long_is_left_to_the_agent(pattern: str, text: str) -> None:
    assert matches(pattern, text) is None


def test_items_are_told_apart_in_linear_time() -> None:
    """The library compares each with each where they are objects: a hundred thousand take minutes."""
    rows: list[Any] = [{"i": i, "of": [i, {"x": None}]} for i in range(20_000)]
    assert not has_repeated(rows)
    assert has_repeated([*rows, {"of": [7, {"x": None}], "i": 7.0}])


@pytest.mark.parametrize(
    ("values", "repeated"),
    [
        *[([1, True], False), ([0, False], False), ([1, 1.0], True), ([[1], [True]], False), ([None, 0, ""], False)],
        *[([{"a": 1, "b": 2}, {"b": 2, "a": 1}], True), ([[], {}], False), (["1", 1], False)],
    ],
)
def test_equal_is_what_json_calls_equal(values: list[Any], repeated: bool) -> None:
    assert has_repeated(values) is repeated
    found = InputSchema({"properties": {"a": {"uniqueItems": True}}}).faults({"a": values})
    assert bool(found) is repeated


def test_only_so_many_faults_of_one_steps_inputs_are_told() -> None:
    schema = InputSchema({"properties": {"a": {"items": {"type": "string"}}}})
    assert len(schema.faults({"a": [1] * (MAX_ERRORS * 3)})) == MAX_ERRORS


def test_a_large_enum_counts_for_its_size() -> None:
    schema = InputSchema({"properties": {"a": {"items": {"enum": list(range(10_000))}}}})
    assert len(schema.faults({"a": [-1] * 20_000})) < schema_work.STEP_UNITS // 100
