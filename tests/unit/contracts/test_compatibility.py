"""Each kind of change to a schema, and how it is judged."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from contracts.compatibility import Impact, compare, worst

BREAKS, WIDENS = Impact.INCOMPATIBLE, Impact.READERS_FIRST


def judged(old: Any, new: Any) -> Impact | None:
    """The verdict on one field whose type changes from ``old`` to ``new``."""
    before, after = (create_model("Sample", value=(kind, ...)) for kind in (old, new))
    return worst(compare(before.model_json_schema(), after.model_json_schema()))


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: int = 0


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(str, str, None, id="nothing changed"),
        pytest.param(str, int, BREAKS, id="type changed"),
        pytest.param(int, float, WIDENS, id="integer to number"),
        pytest.param(float, int, BREAKS, id="number to integer"),
        pytest.param(int | None, float | None, WIDENS, id="integer to number beside null"),
        pytest.param(str, str | None, WIDENS, id="null allowed"),
        pytest.param(str | None, str, BREAKS, id="null refused"),
        pytest.param(str | None, str | int | None, WIDENS, id="union member added"),
        pytest.param(str | int | None, str | None, BREAKS, id="union member removed"),
        pytest.param(Cat, Pet, WIDENS, id="tagged union made of one class"),
        pytest.param(Pet, Cat, BREAKS, id="member of a tagged union removed"),
        pytest.param(str, Any, WIDENS, id="anything allowed"),
        pytest.param(str | int, Any, WIDENS, id="union opened to anything"),
        pytest.param(Any, str, BREAKS, id="anything narrowed to a type"),
        pytest.param(Any, str | None, BREAKS, id="anything narrowed to a union"),
        pytest.param(Literal["a"], Literal["a", "b"], WIDENS, id="value added"),
        pytest.param(Literal["a", "b"], Literal["a"], BREAKS, id="value removed"),
        pytest.param(str, Literal["a"], BREAKS, id="text limited to values"),
        pytest.param(Literal["a", "b"], str, WIDENS, id="values opened to any text"),
        pytest.param(list[str], list[int], BREAKS, id="items of another type"),
        pytest.param(list[str], tuple[str, ...], None, id="same array by another name"),
        pytest.param(tuple[str, int], tuple[str, int, int], BREAKS, id="tuple grew"),
        pytest.param(tuple[str, int], tuple[str, float], WIDENS, id="tuple position widened"),
        pytest.param(dict[str, int], dict[str, str], BREAKS, id="map values of another type"),
        pytest.param(dict[str, Any], Cat, BREAKS, id="free object got fields of its own"),
    ],
)
def test_type_change(old: Any, new: Any, expected: Impact | None) -> None:
    assert judged(old, new) is expected


@pytest.mark.parametrize(
    ("loose", "tight"),
    [
        pytest.param({}, {"max_length": 10}, id="maxLength added"),
        pytest.param({"max_length": 20}, {"max_length": 10}, id="maxLength lowered"),
        pytest.param({}, {"min_length": 1}, id="minLength added"),
        pytest.param({"min_length": 1}, {"min_length": 2}, id="minLength raised"),
        pytest.param({}, {"pattern": "^a"}, id="pattern added"),
    ],
)
def test_text_limit_change(loose: dict[str, Any], tight: dict[str, Any]) -> None:
    before, after = Annotated[str, Field(**loose)], Annotated[str, Field(**tight)]
    assert judged(before, after) is BREAKS
    assert judged(after, before) is WIDENS


@pytest.mark.parametrize(
    ("loose", "tight"),
    [
        pytest.param({"ge": 0}, {"ge": 1}, id="minimum raised"),
        pytest.param({}, {"gt": 0}, id="exclusiveMinimum added"),
        pytest.param({"le": 9}, {"le": 8}, id="maximum lowered"),
        pytest.param({}, {"lt": 9}, id="exclusiveMaximum added"),
        pytest.param({}, {"multiple_of": 5}, id="multipleOf added"),
    ],
)
def test_number_limit_change(loose: dict[str, Any], tight: dict[str, Any]) -> None:
    before, after = Annotated[int, Field(**loose)], Annotated[int, Field(**tight)]
    assert judged(before, after) is BREAKS
    assert judged(after, before) is WIDENS


def test_a_changed_pattern_is_incompatible_both_ways() -> None:
    one, other = Annotated[str, Field(pattern="^a")], Annotated[str, Field(pattern="^b")]
    assert judged(one, other) is BREAKS
    assert judged(other, one) is BREAKS


def test_a_changed_array_limit_is_seen() -> None:
    long, short = Annotated[list[str], Field(max_length=5)], Annotated[list[str], Field(max_length=4)]
    assert judged(long, short) is BREAKS
    assert judged(short, long) is WIDENS


# ---- fields


def fields(config: ConfigDict | None = None, /, **declared: Any) -> dict[str, Any]:
    return create_model("Sample", __config__=config, **declared).model_json_schema()


def test_an_optional_field_may_be_added() -> None:
    assert compare(fields(a=(str, ...)), fields(a=(str, ...), b=(str, "x"), c=(int | None, None))) == []


def test_a_required_field_may_not_be_added() -> None:
    (change,) = compare(fields(a=(str, ...)), fields(a=(str, ...), b=(str, ...)))
    assert (change.impact, change.path) == (BREAKS, "b")


@pytest.mark.parametrize("default", [..., "x"])
def test_no_field_may_be_removed(default: Any) -> None:
    (change,) = compare(fields(a=(str, ...), b=(str, default)), fields(a=(str, ...)))
    assert (change.impact, change.path, change.what) == (BREAKS, "b", "field removed")


def test_renaming_is_removing_and_adding() -> None:
    changes = compare(fields(a=(str, ...)), fields(b=(str, ...)))
    assert [(change.impact, change.path) for change in changes] == [(BREAKS, "a"), (BREAKS, "b")]


def test_an_optional_field_may_not_become_required() -> None:
    optional, required = fields(a=(str, "x")), fields(a=(str, ...))
    assert worst(compare(optional, required)) is BREAKS
    assert worst(compare(required, optional)) is WIDENS


def test_a_changed_default_changes_what_absence_means() -> None:
    (change,) = compare(fields(a=(int, 1)), fields(a=(int, 2)))
    assert (change.impact, change.what) == (BREAKS, "default is 2 now, before 1")


def test_adding_to_an_object_that_refuses_unknown_fields_needs_readers_first() -> None:
    strict = ConfigDict(extra="forbid")
    assert worst(compare(fields(strict, a=(str, ...)), fields(strict, a=(str, ...), b=(str, "")))) is WIDENS


def test_unknown_fields_may_not_begin_to_be_refused() -> None:
    assert worst(compare(fields(a=(str, ...)), fields(ConfigDict(extra="forbid"), a=(str, ...)))) is BREAKS


def test_a_field_may_not_take_a_name_that_was_free_for_anything() -> None:
    open_to_all = ConfigDict(extra="allow")
    old, new = fields(open_to_all, a=(str, ...)), fields(open_to_all, a=(str, ...), b=(str, ""))
    assert worst(compare(old, new)) is BREAKS


def test_words_do_not_matter() -> None:
    old = fields(a=(str, Field(description="one", examples=["x"])))
    new = fields(a=(str, Field(description="other", title="A")))
    assert compare(old, new) == []


def test_what_cannot_be_judged_is_incompatible() -> None:
    old = {"type": "object", "propertyNames": {"pattern": "^a"}}
    new = {"type": "object", "propertyNames": {"pattern": "^b"}}
    (change,) = compare(old, new)
    assert change.impact is BREAKS
    assert "propertyNames" in change.what


# ---- structure


def test_the_path_leads_through_definitions_and_arrays() -> None:
    class Inner(BaseModel):
        limit: int

    class Outer(BaseModel):
        items: list[Inner]

    new = Outer.model_json_schema()
    new["$defs"]["Inner"]["properties"]["limit"]["maximum"] = 5
    (change,) = compare(Outer.model_json_schema(), new)
    assert str(change) == "incompatible: items[].limit: maximum is 5 now, before none"


class Node(BaseModel):
    value: int
    parent: "Node | None" = None
    children: list["Node"] = []


def test_recursive_models_are_compared() -> None:
    new = Node.model_json_schema()
    assert compare(Node.model_json_schema(), new) == []
    new["$defs"]["Node"]["properties"]["value"]["type"] = "string"
    assert worst(compare(Node.model_json_schema(), new)) is BREAKS


def test_a_change_inside_a_member_of_a_tagged_union_is_found() -> None:
    old = create_model("Sample", pet=(Pet, ...)).model_json_schema()
    new = create_model("Sample", pet=(Pet, ...)).model_json_schema()
    del new["$defs"]["Dog"]["properties"]["tricks"]
    (change,) = compare(old, new)
    assert (change.impact, change.path) == (BREAKS, "pet.tricks")


def test_another_tag_is_incompatible() -> None:
    old = create_model("Sample", pet=(Pet, ...)).model_json_schema()
    new = create_model("Sample", pet=(Pet, ...)).model_json_schema()
    new["properties"]["pet"]["discriminator"]["propertyName"] = "species"
    assert worst(compare(old, new)) is BREAKS


def test_a_restriction_beside_a_union_counts() -> None:
    old = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert worst(compare(old, {**old, "maxLength": 3})) is BREAKS
