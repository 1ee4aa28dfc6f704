"""Validation of large definitions, of any graph, and of any document at all."""

import copy
import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.workflow import MAX_STEPS, WorkflowDefinition
from services.runtime.definitions.dependencies import effective_dependencies
from services.runtime.definitions.lint import lint
from tests.support.definitions import AGENTS, faults, layered, only, step, workflow


def test_hundreds_of_steps() -> None:
    definition, found = lint(layered(700), AGENTS)
    assert found == []
    assert definition is not None
    needs = effective_dependencies(definition)
    assert needs["s600"] == ("s200", "s300", "s599")
    found = faults(layered(700, faulty=True))
    assert len(found) == 700 * 5
    assert {fault.code for fault in found} == {
        "invalid_value",
        "bad_reference",
        "bad_expression",
        "bad_input",
        "unknown_input",
    }


def test_a_chain_of_ten_thousand_steps() -> None:
    chain = [step(f"s{i}", {"x": f"s{i - 1}.output"} if i else {}) for i in range(MAX_STEPS)]
    assert faults(workflow(*reversed(chain))) == []
    chain[0]["inputs"] = {"x": f"s{MAX_STEPS - 1}.output"}
    assert only(workflow(*chain)).code == "cycle"


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of functions, in Python and in C, a piece of work makes."""
    count = 0

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("faulty", [False, True], ids=["valid", "faulty"])
def test_the_cost_is_linear(faulty: bool) -> None:
    def cost(steps: int) -> int:
        raw = layered(steps, faulty)
        return calls_of(lambda: lint(raw, AGENTS))

    cost(10)  # what is made once, such as the validator's caches
    small, middle, large = cost(100), cost(200), cost(400)
    assert large - middle == pytest.approx(2 * (middle - small), rel=0.05)


def test_the_cost_of_dependencies_is_linear() -> None:
    def cost(steps: int) -> int:
        definition, _ = lint(layered(steps), None)
        assert definition is not None
        return calls_of(lambda: effective_dependencies(definition))

    small, middle, large = cost(100), cost(200), cost(400)
    assert large - middle == pytest.approx(2 * (middle - small), rel=0.05)


@st.composite
def graphs(draw: Any) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """A valid definition in any order, and who waits for whom in it."""
    count = draw(st.integers(1, 12))
    made, needs = [], {}
    for i in range(count):
        earlier = draw(st.sets(st.integers(0, i - 1))) if i else set()
        inputs: dict[str, Any] = {}
        conditions, declared = [], []
        for j in sorted(earlier):
            match draw(st.sampled_from(["declared", "reference", "expression", "text", "condition"])):
                case "declared":
                    declared.append(f"s-{j}")
                case "reference":
                    inputs[f"i{j}"] = [f"s-{j}.output.x"]
                case "expression":
                    inputs[f"i{j}"] = {"deep": f"${{steps['s-{j}'].output}}"}
                case "text":
                    inputs[f"i{j}"] = f"the ${{steps['s-{j}'].output}} of {j}"
                case "condition":
                    conditions.append(f"steps['s-{j}'].status != 'failed'")
        more = {"when": " && ".join(conditions)} if conditions else {}
        made.append(step(f"s-{i}", inputs, depends_on=declared, **more))
        needs[f"s-{i}"] = {f"s-{j}" for j in earlier}
    return workflow(*draw(st.permutations(made))), needs


@settings(deadline=None)
@given(graphs())
def test_any_graph_without_cycles_is_valid_and_its_dependencies_are_found(
    graph: tuple[dict[str, Any], dict[str, set[str]]],
) -> None:
    raw, needs = graph
    definition, found = lint(raw, AGENTS)
    assert found == []
    assert definition is not None
    assert {step_id: set(needed) for step_id, needed in effective_dependencies(definition).items()} == needs


@settings(deadline=None)
@given(graphs(), st.data())
def test_one_dependency_backwards_is_a_cycle_that_is_there(graph: Any, data: Any) -> None:
    raw, needs = graph
    pairs = [(a, b) for a, direct in needs.items() for b in reachable(needs, direct)]
    if not pairs:
        return
    late, early = data.draw(st.sampled_from(sorted(pairs)))
    for each in raw["steps"]:
        if each["id"] == early:
            each["inputs"]["back"] = f"{late}.output"
    needs[early] = needs[early] | {late}
    found = faults(raw)
    assert {fault.code for fault in found} == {"cycle"}
    for fault in found:
        ring = fault.message.split("begin: ")[1].split(" (")[0].split(" -> ")
        assert ring[0] == ring[-1]
        assert all(b in needs[a] for a, b in pairwise(ring))


def reachable(needs: dict[str, set[str]], start: set[str]) -> Iterator[str]:
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        if (each := waiting.pop()) not in seen:
            seen.add(each)
            waiting.extend(needs[each])
            yield each


NAMES = ["id", "name", "steps", "inputs", "when", "agent_type", "action", "depends_on", "dependencies", "retry", "a"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["a", "b", "a.output", "b.output.x", "${steps.a.output}", "${", "data_agent", "process_data"]),
    st.dates(),
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.integers() | st.booleans(), below, max_size=5)
    ),
    max_leaves=25,
)


def damaged(draw: Any, value: Any) -> Any:
    """The same document with a part of it replaced by something else."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 4)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        changed = copy.copy(value)
        changed[key] = damaged(draw, value[key])
        return changed
    return draw(DOCUMENTS)


@st.composite
def damaged_definitions(draw: Any) -> Any:
    return damaged(draw, layered(3))


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS | damaged_definitions())
def test_any_document_is_a_definition_or_has_faults(raw: Any) -> None:
    definition, found = lint(raw, AGENTS)
    if definition is None:
        assert found
        assert len({(fault.path, fault.code, fault.message) for fault in found}) == len(found)
    else:
        assert found == []
        assert definition == WorkflowDefinition.model_validate(json.loads(json.dumps(raw)))
        assert effective_dependencies(definition).keys() == {step.id for step in definition.steps}
        definition.content_hash()
