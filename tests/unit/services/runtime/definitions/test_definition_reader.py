"""Definitions that cannot be read, or only in part: what is said of them, and that they hide no other fault."""

import datetime
from typing import Any

import pytest

from contracts.workflow import MAX_INPUT_DEPTH, MAX_STEPS
from services.runtime.definitions import json_values
from tests.support.definitions import agent, faults, only, places, step, workflow


@pytest.mark.parametrize("raw", [None, [], "name: x", 5, [("name", "x")]])
def test_what_is_no_object(raw: Any) -> None:
    assert places(raw) == [("", "not_an_object")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, [("name", "missing_field"), ("steps", "missing_field")]),
        (workflow(), [("steps", "invalid_value")]),
        ({"name": "", "steps": {"a": 1}}, [("name", "invalid_value"), ("steps", "invalid_value")]),
        (workflow(1, None, step("a")), [("steps[0]", "invalid_value"), ("steps[1]", "invalid_value")]),
        (workflow({"id": 5}), [
            ("steps[0].id", "invalid_value"), ("steps[0].agent_type", "missing_field"),
            ("steps[0].action", "missing_field")]),
        (workflow(step("a", inputs=[1])), [("steps[0].inputs", "invalid_value")]),
        (workflow(step("a", inputs=[[float("inf")]])), [
            ("steps[0].inputs[0][0]", "not_json"), ("steps[0].inputs", "invalid_value")]),
        (workflow(step("a", depends_on="b")), [("steps[0].depends_on", "invalid_value")]),
        (workflow(step("a", when=True)), [("steps[0].when", "invalid_value")]),
        (workflow(step("a", kind="loop")), [("steps[0].kind", "invalid_value")]),
        (workflow(step("a"), dependencies=["a"]), [("dependencies", "invalid_value")]),
        (workflow(step("a"), dependencies={"a": "b"}), [("dependencies.a", "invalid_value")]),
        (workflow(step("a"), agents="data_agent"), [("agents", "invalid_value")]),
        (workflow(step("a"), agents=["data_agent", 1]), [("agents[1]", "invalid_value")]),
        (workflow(step("a", cache={"ttl": 0})), [("steps[0].cache.ttl", "invalid_value")]),
        ({"name": "w", "steps": [step(f"s{i}") for i in range(MAX_STEPS + 1)]}, [("steps", "invalid_value")]),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_faults_of_form(raw: Any, expected: list[tuple[str, str]]) -> None:
    assert places(raw) == expected


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            workflow(step("a", retrys={})),
            "'retrys' is unknown here; 'retry' is meant, perhaps; the fields are id, kind,",
        ),
        (workflow(step("a", retry={"attempts": 1})), "the fields are max_attempts, backoff, multiplier, max_backoff"),
        (workflow(step("a"), dependson={}), "the fields are name, description, steps, agents, dependencies"),
        (workflow(step("a b")), "'a b' cannot be used here: letters, digits, '_' and '-', at most 128 of them"),
        (workflow(step("a", timeout=-1)), "-1 cannot be used here: input should be greater than 0"),
        (workflow(5), "5 cannot be used here: must be an object"),
        (workflow(step("a", depends_on={})), "an object cannot be used here: must be a list"),
        (workflow(step("a", on_skipped="maybe")), "'maybe' cannot be used here: input should be 'skip' or 'run'"),
        (workflow(), "an empty list cannot be used here: list should have at least 1 item"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_messages_of_form_say_what_is_allowed(raw: Any, message: str) -> None:
    assert message in only(raw).message


def test_a_fault_of_form_hides_no_other() -> None:
    """Steps that cannot be read whole are still looked at, and others may refer to them."""
    raw = workflow(
        step("a b", {"x": "nobody.output"}, timeout="soon"),
        step("c", {"x": "a b.output"}, depends_on=["a b", 7, "nowhere"]),
        {"agent_type": "data_agent", "action": "process_data", "inputs": {"limit": "many"}},
        step("d", {"x": "${steps.c.outptu}"}, retry=5, depends_on=["c"]),
        step("d", {"x": "e.output"}),
        step("e", {"x": "${steps.d.output}"}, nonsense=1),
        7,
        agents=5,
        dependencies={"c": 5, "e": ["d", "nowhere", None]},
    )
    assert places(raw) == [
        ("agents", "invalid_value"),
        ("dependencies.c", "invalid_value"),
        ("dependencies.e[2]", "invalid_value"),
        ("dependencies.e[1]", "unknown_step"),
        ("steps[0].id", "invalid_value"),
        ("steps[0].timeout", "invalid_value"),
        ("steps[0].inputs.x", "bad_reference"),
        ("steps[1].depends_on[1]", "invalid_value"),
        ("steps[1].depends_on[2]", "unknown_step"),
        ("steps[2].id", "missing_field"),
        ("steps[2].inputs.limit", "bad_input"),
        ("steps[2].inputs.data_source", "missing_input"),
        ("steps[3].retry", "invalid_value"),
        ("steps[3].inputs.x", "bad_expression"),
        ("steps[4].id", "duplicate_id"),
        ("steps[4].inputs.x", "cycle"),
        ("steps[5].nonsense", "unknown_field"),
        ("steps[6]", "invalid_value"),
    ]


def test_values_that_json_or_the_store_cannot_hold() -> None:
    raw = workflow(
        {
            "id": "a",
            "agent_type": "data_agent",
            "action": "process_data",
            "inputs": {
                "data_source": [
                    {"day": datetime.date(2024, 1, 31), "n": float("nan"), 5: 1, True: 2, "ok": "x.output"}
                ],
                "limit": 2**63,
                "note": "\ud800",
            },
            "retry": {True: ["Timeout"]},
        }
    )
    assert places(raw) == [
        ("steps[0].inputs.limit", "too_large"),
        ("steps[0].inputs.note", "not_json"),
        ("steps[0].inputs.data_source[0].day", "not_json"),
        ("steps[0].inputs.data_source[0].n", "not_json"),
        ('steps[0].inputs.data_source[0]["5"]', "bad_key"),
        ("steps[0].inputs.data_source[0].True", "bad_key"),
        ("steps[0].retry.True", "bad_key"),
        ("steps[0].inputs.data_source[0].ok", "bad_reference"),
    ]
    messages = {fault.path: fault.message for fault in faults(raw)}
    assert "YAML reads on, off, yes and no as true and false" in messages["steps[0].retry.True"]
    assert "put it in quotes" in messages["steps[0].inputs.data_source[0].day"]


def test_what_is_left_out_is_unknown_and_not_missing() -> None:
    agents = {"data_agent": agent("data_agent", anything={"properties": {"it": {"minProperties": 1}}})}
    assert places(workflow(step("a", {"it": {5: "x"}})), agents) == [('steps[0].inputs.it["5"]', "bad_key")]
    assert places(workflow(step("a", {"it": {}})), agents) == [("steps[0].inputs.it", "bad_input")]
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep, 5: deep}
    found = faults(workflow(step("a", {"it": deep, "also": {"deep": [deep]}})), agents)
    assert [fault.code for fault in found if fault.code != "bad_key"] == ["too_deep", "too_deep"]


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_inputs_may_nest_64_levels() -> None:
    assert faults(workflow(step("a", nested(MAX_INPUT_DEPTH)))) == []
    fault = only(workflow(step("a", nested(MAX_INPUT_DEPTH + 1))))
    assert (fault.code, fault.path) == ("too_deep", "steps[0].inputs" + ".a" * MAX_INPUT_DEPTH)
    assert "64 levels" in fault.message


def test_nesting_of_any_depth_is_refused_and_not_stumbled_over() -> None:
    deep: Any = 1
    for level in range(20_000):
        deep = {"a": deep} if level % 2 else [deep]
    assert [fault.code for fault in faults(workflow(step("a", {"deep": deep})))] == ["too_deep"]
    assert "too_deep" in {fault.code for fault in faults(workflow(step("a", retry=deep), deep))}
    assert {fault.code for fault in faults({"name": deep})} >= {"too_deep"}


def test_a_document_that_holds_itself_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "MAX_VALUES", 20_000)
    chain = step("a")
    chain["inputs"]["again"] = chain
    assert [fault.code for fault in faults(workflow(chain))] == ["too_deep"]
    bomb = step("a")
    bomb["inputs"]["again"] = [bomb] * 10
    assert [fault.code for fault in faults(workflow(bomb))] == ["too_large"]
