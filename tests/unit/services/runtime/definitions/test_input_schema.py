"""Inputs against a capability's schema, with values that only the run will know."""

import urllib.request
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.runtime.definitions.input_schema import BadSchema, InputSchema, SchemaFault, Unknown, partly_known

ANY = Unknown("step.output", text=False)
TEXT = Unknown("total ${x}", text=True)


class Filter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    op: Literal["filter"] = "filter"
    where: str


class Sort(BaseModel):
    model_config = ConfigDict(extra="forbid")

    op: Literal["sort"]
    by: list[str] = Field(min_length=1)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool


class Tree(BaseModel):
    name: str
    children: "list[Tree] | dict[str, Tree] | None" = None


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str | list[dict[str, JsonValue]]
    limit: int | None = Field(default=None, ge=1)
    mode: Literal["fast", "exact"] = "fast"
    name: str = Field(default="x", pattern="^[a-z]+$", max_length=10)
    weights: dict[str, float] | Literal["equal"] | None = None
    operations: list[Filter | Sort] = []
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    tags: set[str] = set()
    pair: tuple[int, str] = (1, "a")
    tree: Tree | None = None
    either: Cat | Dog | str = ""


SCHEMA = InputSchema(Request.model_json_schema())


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, Unknown):
        return [(path, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, below in items for found in paths_of(below, (*path, key))]


def faults(inputs: dict[str, Any], schema: InputSchema = SCHEMA) -> list[SchemaFault]:
    return schema.faults(partly_known(inputs, paths_of(inputs)))


def places(inputs: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(map(str, fault.path)), fault.code) for fault in faults(inputs)]


def shown(value: Any) -> str:
    return repr(value)[:60]


VALID: list[dict[str, Any]] = [
    {"source": "a.csv"},
    {"source": ANY},
    {"source": TEXT},
    {"source": [ANY, {"a": ANY}, {}]},
    {"source": "a", "limit": ANY, "mode": ANY, "name": ANY, "weights": ANY, "operations": ANY, "pet": ANY, "tree": ANY},
    {"source": "a", "mode": TEXT, "name": TEXT, "weights": TEXT, "either": TEXT},
    {"source": "a", "weights": {"x": ANY, "y": 1}},
    {"source": "a", "operations": [{"op": "sort", "by": ANY}, {"op": ANY, "by": ["a"]}, ANY, {"where": TEXT}]},
    {"source": "a", "operations": [{"op": TEXT, "where": "x"}]},
    {"source": "a", "pet": {"kind": ANY, "anything": 1}},
    {"source": "a", "pet": {"kind": "cat", "lives": ANY}},
    {"source": "a", "tags": [ANY, ANY, "a", TEXT, TEXT]},
    {"source": "a", "pair": [ANY, TEXT]},
    {"source": "a", "tree": {"name": "r", "children": [{"name": ANY, "children": {"k": {"name": TEXT}}}, ANY]}},
    {"source": "a", "either": {"kind": ANY, "lives": 1, "barks": True}},
]


@pytest.mark.parametrize("inputs", VALID, ids=shown)
def test_valid_inputs_have_no_faults(inputs: dict[str, Any]) -> None:
    assert faults(inputs) == []


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, [("source", "missing_input")]),
        ({"source": 5}, [("source", "bad_input")]),
        ({"source": "a", "extra": 1, "more": ANY}, [("extra", "unknown_input"), ("more", "unknown_input")]),
        ({"source": "a", "limit": 0}, [("limit", "bad_input")]),
        ({"source": "a", "limit": "5"}, [("limit", "bad_input")]),
        ({"source": "a", "limit": TEXT}, [("limit", "bad_input")]),
        ({"source": "a", "tree": TEXT}, [("tree", "bad_input")]),
        ({"source": "a", "mode": "slow"}, [("mode", "bad_input")]),
        ({"source": "a", "name": "A1"}, [("name", "bad_input")]),
        ({"source": "a", "name": "abcdefghijk"}, [("name", "bad_input")]),
        ({"source": [ANY, 1]}, [("source.1", "bad_input")]),
        ({"source": "a", "weights": {"x": ANY, "y": "1"}}, [("weights.y", "bad_input")]),
        ({"source": "a", "operations": [ANY, {"op": "sort", "by": []}]}, [("operations.1.by", "bad_input")]),
        ({"source": "a", "operations": [{"op": "sort", "by": [ANY, 2]}]}, [("operations.0.by.1", "bad_input")]),
        ({"source": "a", "operations": [{"op": "sort", "where": ANY}]}, [
            ("operations.0.by", "missing_input"), ("operations.0.where", "unknown_input")]),
        ({"source": "a", "pet": {"kind": "cow"}}, [("pet.kind", "bad_input")]),
        ({"source": "a", "pet": {"lives": ANY}}, [("pet.kind", "missing_input")]),
        ({"source": "a", "pet": {"kind": "cat", "lives": 10}}, [("pet.lives", "bad_input")]),
        ({"source": "a", "pet": {"kind": "dog", "barks": ANY, "lives": 1}}, []),
        ({"source": "a", "tags": [ANY, "a", "a"]}, [("tags", "bad_input")]),
        ({"source": "a", "pair": [ANY]}, [("pair", "bad_input")]),
        ({"source": "a", "pair": ["x", ANY]}, [("pair.0", "bad_input")]),
        ({"source": "a", "tree": {"children": [{"name": 1}, ANY]}}, [
            ("tree.children.0.name", "bad_input"), ("tree.name", "missing_input")]),
        ({"source": 1, "limit": 0, "oops": ANY}, [
            ("limit", "bad_input"), ("oops", "unknown_input"), ("source", "bad_input")]),
    ],
    ids=shown,
)  # fmt: skip
def test_every_fault_has_its_place(inputs: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert sorted(places(inputs)) == expected


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'source' is missing"),
        ({"source": "a", "lmit": 1}, "'lmit' is not known here; known are source, limit, mode, name, weights"),
        ({"source": 5}, "5 is not of type string or array"),
        ({"source": "a", "limit": TEXT}, "the text 'total ${x}' is not of type integer"),
        ({"source": "a", "mode": "slow"}, "'slow' is not one of ['fast', 'exact']"),
        ({"source": "a", "limit": 0}, "0 is less than the minimum of 1"),
        ({"source": "a", "name": "x" * 5_000}, "x…"),
        ({"source": "a", "weights": "eq"}, "'eq' is not 'equal'"),
        ({"source": "a", "pet": {}}, "'kind' is missing; it says which form this is: 'cat', 'dog'"),
        ({"source": "a", "pet": {"kind": "cow"}}, "'cow' is not one of 'cat', 'dog'"),
        ({"source": "a", "either": {"lives": 3}}, "fits none of the forms allowed: 'kind' is missing"),
        ({"source": "a", "tags": list("ab" * 5_000)}, "a list has non-unique elements"),
        ({"source": "a", "pair": []}, "a list with nothing in it is too short"),
    ],
    ids=shown,
)
def test_messages_say_what_is_wrong_and_what_is_allowed(inputs: dict[str, Any], message: str) -> None:
    (fault,) = faults(inputs)
    assert message in fault.message
    assert len(fault.message) < 500


def test_one_of_several_needed_fields() -> None:
    schema = InputSchema({"type": "object", "anyOf": [{"required": ["data"]}, {"required": ["facts"]}]})
    assert faults({"data": ANY}, schema) == []
    (fault,) = faults({}, schema)
    assert "'data' is missing; or 'facts' is missing" in fault.message


@pytest.mark.parametrize(
    ("schema", "partly", "wholly_wrong"),
    [
        ({"not": {"type": "string"}}, ANY, "text"),
        ({"not": {"required": ["a"]}}, {"b": ANY}, {"a": 1}),
        ({"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}}, {"a": ANY}, {"a": 1}),
        ({"const": {"a": 1}}, {"a": ANY}, {"a": 2}),
        ({"enum": [[1], [2]]}, [ANY], [3]),
        ({"contains": {"const": 1}, "maxContains": 1}, [ANY, ANY], [1, 1]),
        ({"oneOf": [{"required": ["a"]}, {"properties": {"a": {"type": "string"}}}]}, {"a": ANY}, {"a": "x"}),
        ({"properties": {"a": True}, "unevaluatedProperties": False}, {"a": ANY}, {"a": 1, "b": 1}),
        ({"prefixItems": [True], "unevaluatedItems": False}, [ANY], [1, 2]),
        ({"uniqueItems": True}, [ANY, ANY, [ANY], [ANY]], [1, 1]),
        ({"dependentRequired": {"a": ["b"]}}, {"a": ANY, "b": ANY}, {"a": 1}),
        ({"minItems": 2, "items": {"type": "integer"}}, [ANY, 1], [1]),
        ({"propertyNames": {"pattern": "^x"}}, {"xa": ANY}, {"y": 1}),
        ({"patternProperties": {"^x": {"type": "integer"}}}, {"xa": ANY}, {"xa": "1"}),
    ],
)
def test_every_keyword_leaves_unknown_values_alone_and_still_works(schema: Any, partly: Any, wholly_wrong: Any) -> None:
    checked = InputSchema({"properties": {"it": schema}})
    assert faults({"it": partly}, checked) == []
    assert [fault.path[0] for fault in faults({"it": wholly_wrong}, checked)] == ["it"]


def test_a_pattern_of_another_dialect_is_left_to_the_agent() -> None:
    schema = InputSchema(
        {
            "properties": {"a": {"pattern": r"^(?=b)"}},
            "patternProperties": {r"^(?!a)": {"type": "integer"}},
            "additionalProperties": False,
        }
    )
    assert faults({"a": "x", "Ä": "y"}, schema) == []


def test_a_pattern_is_read_as_the_agents_model_reads_it() -> None:
    schema = InputSchema({"properties": {"a": {"pattern": r"^\p{Lu}"}}})
    assert faults({"a": "Ä"}, schema) == []
    assert [fault.path for fault in faults({"a": "x"}, schema)] == [("a",)]


@pytest.mark.parametrize(
    ("schema", "inputs", "said"),
    [
        ({"type": "objekt"}, {}, "objekt"),
        ({"required": "name"}, {}, "'name' is not of type 'array'"),
        ({"properties": {"a": {"minimum": "1"}}}, {"a": 1}, "'1' is not of type 'number'"),
        ({"$ref": "#/$defs/nothing"}, {}, "#/$defs/nothing"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, {}, "127.0.0.1"),
        ({"$ref": "#"}, {}, "refers to itself without end"),
    ],
)
def test_schemas_that_cannot_be_used_are_named_and_nothing_is_fetched(
    schema: Any, inputs: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *arguments, **more: pytest.fail("something was fetched"))
    with pytest.raises(BadSchema) as caught:
        InputSchema(schema).faults(inputs)
    assert said in str(caught.value)


def test_a_schema_may_name_its_draft() -> None:
    schema = InputSchema(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"kids": {"items": {"$ref": "#"}}}}
    )
    assert faults({"kids": [{"kids": [ANY]}]}, schema) == []


def test_inputs_of_any_allowed_depth_are_checked() -> None:
    def tree(levels: int, leaf: dict[str, Any]) -> dict[str, Any]:
        for level in range(levels):
            leaf = {"name": "n", "children": [leaf] if level % 2 else {"k": leaf}}
        return leaf

    assert faults({"source": "a", "tree": tree(31, {"name": "leaf"})}) == []
    (fault,) = faults({"source": "a", "tree": tree(31, {"name": 1})})
    assert len(fault.path) == 64


def test_the_inputs_themselves_are_not_changed() -> None:
    inputs: dict[str, Any] = {"a": [{"b": 1}], "c": {"d": [1, 2]}}
    found = partly_known(inputs, [(("a", 0, "b"), ANY), (("c", "d", 1), TEXT), (("c", "d", 0), 5)])
    assert found == {"a": [{"b": ANY}], "c": {"d": [5, TEXT]}}
    assert inputs == {"a": [{"b": 1}], "c": {"d": [1, 2]}}


# ---- no false alarm, whatever the values turn out to be

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 12)
    | st.sampled_from(["a", "cat", "dog", "equal", "fast", "sort", "x"]),
    lambda below: (
        st.lists(below, max_size=2)
        | st.dictionaries(st.sampled_from(["kind", "lives", "barks", "op", "by", "where", "name", "children"]), below)
    ),
    max_leaves=6,
)
INPUTS = st.fixed_dictionaries(
    {"source": VALUES},
    optional=dict.fromkeys(
        ("limit", "mode", "name", "weights", "operations", "pet", "tags", "pair", "tree", "either", "odd"), VALUES
    ),
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, below in items for each in ((*path, key), *places_in(below, (*path, key)))]


STANDARD = Draft202012Validator(Request.model_json_schema())


@settings(max_examples=200, deadline=None)
@given(INPUTS, st.data())
def test_what_is_reported_of_partly_known_inputs_is_wrong_of_the_known_ones(inputs: dict[str, Any], data: Any) -> None:
    """Hide some values of inputs: faults may go, none may come."""
    chosen = data.draw(st.lists(st.sampled_from(places_in(inputs)), max_size=3, unique=True))
    hidden = [path for path in chosen if not any(path[: len(other)] == other for other in chosen if other != path)]
    whole = not STANDARD.is_valid(inputs)
    assert bool(SCHEMA.faults(inputs)) == whole
    partly = SCHEMA.faults(partly_known(inputs, [(path, ANY) for path in hidden]))
    assert whole or not partly
    for fault in partly:
        assert not any(fault.path[: len(path)] == path and len(fault.path) > len(path) for path in hidden)
