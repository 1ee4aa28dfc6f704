"""Joining outputs: what each strategy gives, and what it says of nulls, conflicts and gaps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.coordinator_agent.aggregate_models import AggregateInputs
from services.coordinator_agent.aggregation import aggregate as joined
from services.coordinator_agent.merging import pointer, same

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


async def test_by_name_and_list_keep_the_items(aggregate: Any) -> None:
    items = {"b": {"x": 1}, "a": [2]}
    answer = await aggregate(items, "by_name")
    assert answer["value"] == items
    assert list(answer["value"]) == answer["used"] == ["b", "a"]
    assert (await aggregate(items, "list"))["value"] == [{"x": 1}, [2]]
    assert (await aggregate([7, "x"], "by_name"))["value"] == {"#1": 7, "#2": "x"}
    assert (await aggregate([], "list"))["value"] == []


async def test_skipped_steps_are_left_out_and_named(aggregate: Any) -> None:
    items = {"a": {"x": 1}, "review": None}
    for strategy, value in [("by_name", {"a": {"x": 1}}), ("list", [{"x": 1}]), ("merge", {"x": 1})]:
        answer = await aggregate(items, strategy)
        assert (answer["value"], answer["used"], answer["skipped"]) == (value, ["a"], ["review"])
        assert "Left out because null: review." in answer["rationale"]


async def test_nulls_can_be_kept_or_refused(aggregate: Any, refused: Any) -> None:
    answer = await aggregate({"a": 1, "b": None}, "by_name", nulls="keep")
    assert (answer["value"], answer["used"], answer["skipped"]) == ({"a": 1, "b": None}, ["a", "b"], [])
    error = await refused(aggregate({"a": 1, "b": None, "c": None}, "list", nulls="error"))
    assert (error.code, error.details) == ("NullItem", ["b", "c"])
    assert (await refused(aggregate({"a": {}}, "merge", nulls="keep"))).code == "InvalidInputs"


async def test_a_path_picks_from_every_item(aggregate: Any, refused: Any) -> None:
    items = {"a": {"r": [{"score": 1}]}, "b": {"r": [{"score": 3}]}, "c": None, "d": {"r": None}}
    answer = await aggregate(items, "by_name", path="r.0.score")
    assert (answer["value"], answer["skipped"]) == ({"a": 1, "b": 3}, ["c", "d"])
    for path, said in [
        ("r.0.scor", "item a has nothing at r.0.scor; there are: score"),
        ("r.1.score", "item a has nothing at r.1; there is a list of 1"),
        ("r.-1", "item a has nothing at r.-1; there is a list of 1"),
        ("r.0.score.x", "item a has nothing at r.0.score.x; there is 1"),
    ]:
        error = await refused(aggregate(items, "list", path=path))
        assert (error.code, str(error)) == ("MissingPath", said)


async def test_merge_joins_objects_within_objects(aggregate: Any) -> None:
    answer = await aggregate([{"a": {"x": 1, "l": [1]}, "b": 1}, {"a": {"y": 2, "l": [1]}, "c": 1.0}], "merge")
    assert answer["value"] == {"a": {"x": 1, "l": [1], "y": 2}, "b": 1, "c": 1.0}
    assert answer["conflicts"] == []


async def test_a_conflict_is_an_error_unless_a_policy_chooses(aggregate: Any, refused: Any) -> None:
    items = {"eu": {"t": {"vat/rate": 19}, "n": 1}, "us": {"t": {"vat/rate": 0}, "n": 1}, "jp": {"t": {"vat/rate": 10}}}
    values = [{"item": "eu", "value": 19}, {"item": "us", "value": 0}, {"item": "jp", "value": 10}]
    error = await refused(aggregate(items, "merge"))
    assert error.code == "MergeConflict"
    assert error.details == [{"path": "/t/vat~1rate", "values": values, "kept": None}]
    assert "/t/vat~1rate (eu: 19, us: 0, jp: 10)" in str(error)
    for policy, kept, value in [("first", "eu", 19), ("last", "jp", 10)]:
        answer = await aggregate(items, "merge", on_conflict=policy)
        assert answer["value"] == {"t": {"vat/rate": value}, "n": 1}
        assert answer["conflicts"] == [{"path": "/t/vat~1rate", "values": values, "kept": kept}]
        assert "1 field: /t/vat~1rate" in answer["rationale"]


async def test_shallow_merge_takes_objects_as_one_value(aggregate: Any) -> None:
    answer = await aggregate([{"a": {"x": 1}}, {"a": {"y": 2}}], "merge", deep=False, on_conflict="last")
    assert answer["value"] == {"a": {"y": 2}}
    assert [c["path"] for c in answer["conflicts"]] == ["/a"]


@pytest.mark.parametrize(
    ("left", "right"), [(1, True), (0, False), (None, 0), ({"x": 1}, [1]), ("1", 1), ([1], [1, 2])]
)
async def test_different_json_is_a_conflict(aggregate: Any, left: Any, right: Any) -> None:
    answer = await aggregate([{"a": left}, {"a": right}], "merge", on_conflict="first")
    assert len(answer["conflicts"]) == 1
    assert answer["value"]["a"] is left or answer["value"]["a"] == left


async def test_merge_needs_objects(aggregate: Any, refused: Any) -> None:
    error = await refused(aggregate({"a": {}, "b": [1]}, "merge"))
    assert (error.code, str(error)) == ("WrongType", "item b is a list, and an object is needed")


async def test_by_key_joins_records_and_lists_the_gaps(aggregate: Any) -> None:
    items = {
        "delays": {"rows": [{"carrier": "AA", "delay": 9.7}, {"carrier": "DL", "delay": -5.9}]},
        "names": {"rows": [{"carrier": "DL", "name": "Delta"}, {"carrier": "VX", "name": "Virgin"}]},
    }
    answer = await aggregate(items, "by_key", key="carrier", path="rows")
    assert answer["value"] == [
        {"carrier": "AA", "delay": 9.7},
        {"carrier": "DL", "delay": -5.9, "name": "Delta"},
        {"carrier": "VX", "name": "Virgin"},
    ]
    assert answer["missing"] == [{"key": "AA", "items": ["names"]}, {"key": "VX", "items": ["delays"]}]
    assert "2 keys not in every item." in answer["rationale"]


async def test_by_key_has_conflicts_too(aggregate: Any, refused: Any) -> None:
    items = {"a": [{"id": 1, "x": 1}], "b": [{"id": 1, "x": 2}]}
    assert (await refused(aggregate(items, "by_key", key="id"))).code == "MergeConflict"
    answer = await aggregate(items, "by_key", key="id", on_conflict="last")
    assert answer["value"] == [{"id": 1, "x": 2}]
    assert [(c["path"], c["kept"]) for c in answer["conflicts"]] == [("/1/x", "b")]


async def test_keys_of_different_types_are_different_keys(aggregate: Any) -> None:
    answer = await aggregate({"a": [{"id": 1}, {"id": True}, {"id": "1"}]}, "by_key", key="id")
    assert answer["value"] == [{"id": 1}, {"id": True}, {"id": "1"}]
    assert answer["value"][1]["id"] is True


async def test_by_key_refuses_what_it_cannot_join(aggregate: Any, refused: Any) -> None:
    for items, code, said in [
        ({"a": [{"id": 1}, {"id": 1}]}, "DuplicateKey", "a[1] repeats the key 1"),
        ({"a": [{"x": 1}]}, "WrongType", "a[0] has null as its key 'id'"),
        ({"a": [{"id": 1.5}]}, "WrongType", "a[0] has 1.5 as its key 'id'"),
        ({"a": [3]}, "WrongType", "item a[0] is 3, and an object is needed"),
        ({"a": {"id": 1}}, "WrongType", "item a is an object, and a list of records is needed"),
    ]:
        error = await refused(aggregate(items, "by_key", key="id"))
        assert error.code == code
        assert said in str(error)


@pytest.mark.parametrize(("statistic", "value"), [("mean", 4.0), ("median", 2.5), ("min", 1), ("max", 10), ("sum", 16)])
async def test_numeric_takes_one_statistic(aggregate: Any, statistic: str, value: float) -> None:
    items = {"a": {"s": 1}, "b": {"s": 10}, "c": {"s": 2}, "d": {"s": 3}, "e": None}
    answer = await aggregate(items, "numeric", path="s", statistic=statistic)
    assert (answer["value"], answer["skipped"]) == (value, ["e"])
    assert answer["rationale"] == f"4 items (at s): their {statistic}. Left out because null: e."


async def test_numeric_is_exact_where_it_can_be(aggregate: Any) -> None:
    assert (await aggregate([2**60, 1], "numeric", statistic="sum"))["value"] == 2**60 + 1
    assert (await aggregate([0.1] * 10, "numeric", statistic="sum"))["value"] == 1.0


async def test_numeric_refuses_what_is_no_number(aggregate: Any, refused: Any) -> None:
    for items, code in [
        ({"a": "1"}, "WrongType"),
        ({"a": True}, "WrongType"),
        ({"a": float("nan")}, "NotFinite"),
        ({"a": 1e308, "b": 1e308}, "NotFinite"),
        ({"a": 10**400}, "NotFinite"),
        ({"a": None}, "NothingToAggregate"),
        ({}, "NothingToAggregate"),
    ]:
        assert (await refused(aggregate(items, "numeric", statistic="mean"))).code == code


async def test_options_of_another_strategy_are_refused(aggregate: Any, refused: Any) -> None:
    for strategy, options in [
        ("list", {"key": "id"}),
        ("by_name", {"on_conflict": "last"}),
        ("numeric", {}),
        ("by_key", {}),
        ("merge", {"statistic": "sum"}),
        ("zip", {}),
    ]:
        assert (await refused(aggregate([], strategy, **options))).code == "InvalidInputs"


@given(items=st.lists(OBJECTS, max_size=4))
def test_merging_the_same_twice_changes_nothing(items: list[dict[str, Any]]) -> None:
    request = {"strategy": "merge", "on_conflict": "first"}
    once = joined(AggregateInputs.model_validate({"items": items, **request}))
    again = joined(AggregateInputs.model_validate({"items": [*items, *items], **request}))
    assert same(once.value, again.value)
    assert [c.path for c in once.conflicts] == [c.path for c in again.conflicts]


@given(items=st.lists(OBJECTS, min_size=1, max_size=4))
def test_last_is_first_of_the_reversed(items: list[dict[str, Any]]) -> None:
    last = joined(AggregateInputs.model_validate({"items": items, "strategy": "merge", "on_conflict": "last"}))
    first = joined(AggregateInputs.model_validate({"items": items[::-1], "strategy": "merge", "on_conflict": "first"}))
    assert same(last.value, first.value)
    assert {c.path for c in last.conflicts} == {c.path for c in first.conflicts}


@given(items=st.lists(OBJECTS, min_size=1, max_size=4))
def test_without_conflicts_every_item_is_within_the_result(items: list[dict[str, Any]]) -> None:
    answer = joined(AggregateInputs.model_validate({"items": items, "strategy": "merge", "on_conflict": "last"}))
    if not answer.conflicts:
        assert all(within(item, answer.value) for item in items)
    else:
        assert not all(within(item, answer.value) for item in items)


def within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and within(part[name], whole[name]) for name in part)
    return same(part, whole)


def test_pointers_escape_as_rfc_6901_says() -> None:
    assert pointer(("a/b", "m~n", "")) == "/a~1b/m~0n/"
    assert pointer(()) == ""
