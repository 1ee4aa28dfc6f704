"""The workflows of a fault run: definitions that the system takes, and what is expected of them."""

from benchmarks.faults.agent import FaultAgent
from benchmarks.faults.check_log import expected_values
from benchmarks.faults.shapes import SHAPES, planned
from benchmarks.faults.values import step_value
from services.runtime.definitions.lint import lint

MANY = range(300)


def test_every_definition_passes_the_checks_of_the_system() -> None:
    agents = {FaultAgent.agent_type: FaultAgent("a").describe()}
    seen = {}
    for index in MANY:
        plan = planned(7, index)
        definition, faults = lint(plan.definition, agents)
        assert faults == []
        assert definition is not None
        assert definition.declared_dependencies() == {
            step_id: tuple(step["needs"]) for step_id, step in plan.steps.items()
        }
        seen[plan.shape] = plan
    assert set(seen) == set(SHAPES)


def test_an_index_makes_one_execution() -> None:
    assert [planned(7, index) for index in range(20)] == [planned(7, index) for index in range(20)]
    assert planned(7, 1) != planned(8, 1)


def test_a_branch_skips_one_side_by_its_number() -> None:
    outcomes = {
        plan.inputs["number"]: {step_id: step["outcome"] for step_id, step in plan.steps.items()}
        for plan in (planned(7, index) for index in MANY)
        if plan.shape == "branch"
    }
    ran, left_out = "succeeded", "skipped"
    assert outcomes == {
        0: {"first": ran, "even": ran, "even2": ran, "odd": left_out, "join": ran},
        1: {"first": ran, "even": left_out, "even2": left_out, "odd": ran, "join": ran},
    }


def test_only_what_fails_late_has_an_effect_and_fails() -> None:
    plans = [plan for plan in (planned(7, index) for index in MANY) if plan.shape == "failing"]
    assert {plan.status for plan in plans} == {"failed"}
    effects = {step["effect"] for plan in plans for step in plan.steps.values() if step["outcome"] == "failed"}
    assert effects == {True, False}
    assert not any(step["effect"] for plan in plans for step in plan.steps.values() if step["outcome"] == "skipped")


def test_a_value_is_of_the_execution_and_of_what_was_taken() -> None:
    steps = {"a": {"needs": [], "outcome": "succeeded"}, "b": {"needs": ["a"], "outcome": "succeeded"}}
    values = expected_values({"execution_id": "x", "steps": steps})
    assert values == {"a": step_value("x/a", {}), "b": step_value("x/b", {"a": step_value("x/a", {})})}
    assert expected_values({"execution_id": "y", "steps": steps})["b"] != values["b"]
    steps["a"]["outcome"] = "skipped"
    assert expected_values({"execution_id": "x", "steps": steps}) == {"a": None, "b": step_value("x/b", {"a": None})}
