"""Who waits for whom: declared and implied."""

import pytest

from contracts.workflow import WorkflowDefinition
from services.runtime.definitions.dependencies import compile_step, effective_dependencies
from services.runtime.definitions.expressions import BadExpression


def workflow(*steps: dict[str, object], **more: object) -> WorkflowDefinition:
    filled = [{"agent_type": "agent", "action": "act", **step} for step in steps]
    return WorkflowDefinition.model_validate({"name": "w", "steps": filled, **more})


def test_declared_and_implied_dependencies_are_merged_in_order_and_without_repeats() -> None:
    definition = workflow(
        {
            "id": "last",
            "depends_on": ["c", "a"],
            "inputs": {"x": "b.output", "y": ["a.output.n"]},
            "when": "steps.d.output",
        },
        {"id": "a"},
        {"id": "b", "when": "steps['a-1'].status == 'skipped' && steps.a.output > inputs.least"},
        {"id": "c", "inputs": {"text": "${steps.b.output} and ${[1].map(x, x + steps.a.output)}"}},
        {"id": "d"},
        {"id": "a-1"},
        dependencies={"last": ["e", "c"], "d": ["a"]},
    )
    assert effective_dependencies(definition) == {
        "last": ("c", "a", "e", "b", "d"),
        "a": (),
        "b": ("a", "a-1"),
        "c": ("b", "a"),
        "d": ("a",),
        "a-1": (),
    }
    assert list(effective_dependencies(definition)) == ["last", "a", "b", "c", "d", "a-1"]


def test_inputs_of_the_execution_and_plain_texts_imply_nothing() -> None:
    definition = workflow(
        {"id": "a"}, {"id": "b", "inputs": {"x": "inputs.a", "y": "see a.output", "z": "${inputs.a}"}}
    )
    assert effective_dependencies(definition) == {"a": (), "b": ()}


def test_the_order_of_implied_dependencies_is_the_same_in_every_process() -> None:
    """Sets of texts have another order in each process; what is planned must not."""
    names = [f"s{i:02}" for i in range(40)]
    condition = " && ".join(f"steps.{name}.output" for name in reversed(names))
    definition = workflow({"id": "last", "when": condition}, *({"id": name} for name in names))
    assert effective_dependencies(definition)["last"] == tuple(names)


def test_a_condition_that_cannot_be_parsed() -> None:
    definition = workflow({"id": "a", "when": "1 +"})
    compiled = compile_step(definition.steps[0], {"a"})
    assert compiled.when is None
    assert "Syntax error" in str(compiled.when_problem)
    with pytest.raises(BadExpression, match="Syntax error"):
        effective_dependencies(definition)
