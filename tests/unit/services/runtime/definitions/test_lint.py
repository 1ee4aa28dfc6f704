"""Submit-time validation of whole definitions: every fault is found, each at its place, and nothing else is."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.workflow import WorkflowDefinition
from services.runtime.definitions.dependencies import effective_dependencies
from services.runtime.definitions.lint import MAX_CYCLES, NamedAgents, lint
from tests.support.definitions import AGENTS, agent, faults, only, places, step, workflow

PER_STEP = {
    "name": "test_workflow",
    "steps": [
        {
            "id": "step1",
            "agent_type": "data_agent",
            "action": "process_data",
            "inputs": {"data_source": "test_data"},
        },
        {
            "id": "step2",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "inputs": {"data": "step1.output"},
            "depends_on": ["step1"],
        },
    ],
}


def test_workflow_validation() -> None:
    """Both forms of dependencies are valid, alone and together, and so is everything a step may say."""
    definition, found = lint(PER_STEP, AGENTS)
    assert found == []
    assert definition == WorkflowDefinition.model_validate(PER_STEP)

    at_the_top = copy.deepcopy(PER_STEP) | {
        "agents": ["data_agent", "decision_agent"],
        "dependencies": {"step2": ["step1"]},
    }
    both, found = lint(at_the_top, AGENTS)
    assert found == []
    del at_the_top["steps"][1]["depends_on"]
    top, found = lint(at_the_top, AGENTS)
    assert found == []
    assert both is not None
    assert top is not None
    assert both.declared_dependencies() == top.declared_dependencies() == {"step1": (), "step2": ("step1",)}

    rich = workflow(
        step("load", {"file": "${'load.output.csv'}", "limit": "inputs.limit"}, timeout=5, cache={"ttl": 60}),
        {
            "id": "clean",
            "agent_type": "data_agent",
            "action": "process_data",
            "inputs": {
                "data_source": {"kind": "inline", "records": "load.output.records"},
                "limit": "${size(steps.load.output.records) / 2}",
                "note": "first of ${steps.load.output.total}: see load.output please",
            },
            "retry": {"max_attempts": 3, "backoff": 0.5, "jitter": 0, "on": ["Timeout"]},
            "when": "steps.load.output.records.exists(r, r.price > inputs.least) && has(inputs.least)",
        },
        {
            "id": "decide-now",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "agent_id": "decider-1",
            "inputs": {"data": {"records": ["clean.output", {"deep": "load.output.0"}]}, "weights": {"a": "inputs.w"}},
            "on_skipped": "run",
        },
        step("report", {"of": "decide-now.output", "n": "${steps['decide-now'].output.scores.map(s, s * 2.0)}"}),
        description="all of it",
        agents=None,
        dependencies=None,
    )
    definition, found = lint(rich, AGENTS)
    assert found == []
    assert definition is not None
    assert effective_dependencies(definition) == {
        "load": (),
        "clean": ("load",),
        "decide-now": ("clean", "load"),
        "report": ("decide-now",),
    }


def test_workflow_validation_logic() -> None:
    """One definition with every kind of fault: one answer lists them all, each with its path."""
    faulty = {
        "steps": [
            step("a", {"x": "b.output", "deep": [{"y": "nobody.output.x"}]}),
            step("b", {"x": "a.output"}),
            step("a"),
            step("inputs"),
            step("c", depends_on=["b", "nowhere"], when="steps.zz.output && missing > 1"),
            step("d", {"self": "d.output", "bad": "${1 +}", "dynamic": "${steps[inputs.which].output}"}),
            step("e", action="no_such_action"),
            step("f", agent_type="no_such_agent"),
            {"id": "g", "agent_type": "data_agent", "action": "process_data", "inputs": {"limit": 0, "lmit": 5}},
            {
                "id": "h",
                "agent_type": "decision_agent",
                "action": "make_decision",
                "inputs": {"data": "c.output", "method": "tops", "weights": {"x": "c.output.w", "y": "heavy"}},
            },
            step("i j", retry={"max_attempts": 0, "tries": 2}, timeout=-1, whem="true"),
            {"id": "k", "agent_type": "data_agent"},
            step("l", depends_on=["l"], when="1 + 1"),
        ],
        "dependencies": {"c": ["gone"], "unknown": ["a"]},
        "agents": ["data_agent", "no_such_agent"],
        "stesp": [],
    }
    assert places(faulty) == [
        ("name", "missing_field"),
        ("stesp", "unknown_field"),
        ("dependencies.c[0]", "unknown_step"),
        ("dependencies.unknown", "unknown_step"),
        ("steps[0].inputs.deep[0].y", "bad_reference"),
        ("steps[0].inputs.x", "cycle"),
        ("steps[2].id", "duplicate_id"),
        ("steps[3].id", "reserved_id"),
        ("steps[4].depends_on[1]", "unknown_step"),
        ("steps[4].when", "unknown_step"),
        ("steps[4].when", "unknown_variable"),
        ("steps[5].inputs.self", "self_reference"),
        ("steps[5].inputs.bad", "bad_expression"),
        ("steps[5].inputs.dynamic", "bad_expression"),
        ("steps[6].action", "unknown_action"),
        ("steps[7].agent_type", "unknown_agent_type"),
        ("steps[8].inputs.lmit", "unknown_input"),
        ("steps[8].inputs.limit", "bad_input"),
        ("steps[8].inputs.data_source", "missing_input"),
        ("steps[9].agent_type", "agent_not_listed"),
        ("steps[9].inputs.method", "bad_input"),
        ("steps[9].inputs.weights.y", "bad_input"),
        ("steps[10].id", "invalid_value"),
        ("steps[10].timeout", "invalid_value"),
        ("steps[10].retry.max_attempts", "invalid_value"),
        ("steps[10].retry.tries", "unknown_field"),
        ("steps[10].whem", "unknown_field"),
        ("steps[11].action", "missing_field"),
        ("steps[12].when", "bad_condition"),
        ("steps[12].depends_on[0]", "cycle"),
    ]


def test_the_examples_of_the_documentation_are_valid() -> None:
    page = (Path(__file__).resolve().parents[5] / "docs" / "workflow_definitions.md").read_text(encoding="utf-8")
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert [example["name"] for example in examples] == ["choose a supplier", "three ways", "expressions"]
    assert {example["name"]: faults(example) for example in examples if faults(example)} == {}


def test_every_code_is_documented() -> None:
    root = Path(__file__).resolve().parents[5]
    page = (root / "docs" / "workflow_definitions.md").read_text(encoding="utf-8")
    modules = ("lint", "definition_reader", "json_values")
    sources = [root / "contracts/workflow.py", *(root / f"services/runtime/definitions/{name}.py" for name in modules)]
    codes = {code for path in sources for code in re.findall(r'code="(\w+)"', path.read_text(encoding="utf-8"))}
    assert len(codes) > 10
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


# ---- expressions and references


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        ("lod.output", "bad_reference", "write ${'lod.output'}"),
        ("a.output[0]", "bad_reference", "a.output.key.0.key"),
        ("${", "bad_expression", "no '}' ends"),
        ("${steps.a.result}", "bad_expression", "a step has output and status"),
        ("${steps.zz.output}", "unknown_step", "'zz' is no step of this workflow; its steps are: a, b, c-d"),
        ("${a.output.x}", "unknown_variable", "the step is steps['a']"),
        ("${nonsense}", "unknown_variable", "an expression knows only steps and inputs"),
        ("${[1].map(x, x + y)}", "unknown_variable", "'y' is unknown"),
        ("b.output.x", "self_reference", "refers to its own step"),
        ("n: ${steps.b.output}", "self_reference", "refers to its own step"),
        ("${1 / 0}", "bad_expression", "can never have a value"),
    ],
)
def test_faults_in_inputs(value: str, code: str, said: str) -> None:
    fault = only(workflow(step("a"), step("b", {"k": [{"x y": value}]}), step("c-d")))
    assert (fault.path, fault.code) == ('steps[1].inputs.k[0]["x y"]', code)
    assert said in fault.message


@pytest.mark.parametrize(
    ("when", "code", "said"),
    [
        ("", "bad_expression", "Syntax error"),
        ("steps.a.output >", "bad_expression", "at character 17"),
        ("${steps.a.output}", "bad_expression", "without ${ }"),
        ("steps[inputs.x].output", "bad_expression", "known only at run time"),
        ("a.output.ok", "unknown_variable", "the step is steps['a']"),
        ("steps.zz.output", "unknown_step", "'zz' is no step"),
        ("steps.b.output", "self_reference", "refers to its own step"),
        ("'yes'", "bad_condition", "is always 'yes'"),
        ("1 / 0 == 1", "bad_condition", "can never have a value"),
        ("+".join(["1"] * 1_000) + " > 0", "bad_expression", "at most 128 operators"),
    ],
)
def test_faults_in_conditions(when: str, code: str, said: str) -> None:
    fault = only(workflow(step("a"), step("b", when=when)))
    assert (fault.path, fault.code) == ("steps[1].when", code)
    assert said in fault.message


def test_an_id_with_a_hyphen_in_an_expression_gets_advice() -> None:
    found = faults(workflow(step("load-all"), step("b", when="steps.load-all.output > 1")))
    assert [fault.code for fault in found] == ["unknown_step", "unknown_variable"]
    assert all("an id with '-' in it is written steps['load-all']" in fault.message for fault in found)


def test_all_faults_of_one_expression_are_listed() -> None:
    raw = workflow(step("a", when="steps.x.output > foo && steps.y.output > bar"))
    assert [(fault.code, fault.message.split("'")[1]) for fault in faults(raw)] == [
        ("unknown_step", "x"),
        ("unknown_step", "y"),
        ("unknown_variable", "bar"),
        ("unknown_variable", "foo"),
    ]


# ---- cycles


def test_a_cycle_is_named_with_what_makes_each_step_wait() -> None:
    raw = workflow(
        step("start"),
        step("a", {"x": "c.output.y"}, depends_on=["start"]),
        step("b", when="steps.a.output"),
        step("c", {"text": ["n: ${steps.d.output}"]}),
        step("d"),
        dependencies={"d": ["start", "b"]},
    )
    fault = only(raw)
    assert fault.path == "steps[1].inputs.x"
    assert "a -> c -> d -> b -> a" in fault.message
    assert "a waits for c by steps[1].inputs.x" in fault.message
    assert "c waits for d by steps[3].inputs.text[0]" in fault.message
    assert "d waits for b by dependencies.d[1]" in fault.message
    assert "b waits for a by steps[2].when" in fault.message


def test_every_cycle_is_named() -> None:
    raw = workflow(
        step("a", depends_on=["b", "c"]),
        step("b", depends_on=["a"]),
        step("c", depends_on=["a"]),
        step("d", depends_on=["d"]),
        step("e", {"x": "f.output"}),
        step("f", {"x": "e.output"}),
    )
    chains = sorted(fault.message.split(": ")[1].split(" (")[0] for fault in faults(raw))
    assert chains == ["a -> b -> a", "a -> c -> a", "d -> d", "e -> f -> e"]


def test_a_very_long_cycle_and_very_many_cycles_are_told_in_few_words() -> None:
    ring = [step(f"s{i}", depends_on=[f"s{(i + 1) % 500}"]) for i in range(500)]
    fault = only(workflow(*ring))
    assert fault.message.count("->") < 30
    assert "s0 -> s1 -> s2" in fault.message
    assert "-> s0 (" in fault.message
    everyone = [f"s{i}" for i in range(40)]
    found = faults(workflow(*(step(name, depends_on=everyone) for name in everyone)))
    assert len(found) == MAX_CYCLES + 1
    assert found[0].path == "steps"
    assert str(MAX_CYCLES) in found[0].message


# ---- agents


def test_agents_are_left_out_where_nothing_is_known_of_them() -> None:
    raw = workflow({"id": "a", "agent_type": "stranger", "action": "whatever", "inputs": {"x": 1}})
    assert faults(raw, None) == []
    assert lint(raw)[1] == []
    assert only(raw, {}).message == "there is no agent type 'stranger'; there are: none"


def test_unknown_agents_and_actions_name_the_known() -> None:
    fault = only(workflow(step("a", agent_type="data_agnt")))
    assert "there are: data_agent, decision_agent" in fault.message
    fault = only(workflow(step("a", action="process")))
    assert fault.message == "data_agent has no action 'process'; it has: anything, process_data"


def test_faults_of_inputs_name_the_capability() -> None:
    raw = workflow({"id": "a", "agent_type": "data_agent", "action": "process_data", "inputs": {"data_source": 1}})
    assert only(raw).message == "1 is not of type string or object or array (inputs of data_agent.process_data)"


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("a.total", "; to refer to step 'a' write a.output.total"),
        ("steps.a.total.0", "; to refer to step 'a' write a.output.total.0"),
        ("steps.a", "; to refer to step 'a' write a.output"),
        ("c-d", "; to refer to step 'c-d' write c-d.output"),
        ("b.total", ""),  # the step itself
        ("x.total", ""),
        ("a total", ""),
        ("a.total ${inputs.n}", ""),
    ],
)
def test_a_text_that_names_a_step_where_no_text_fits_gets_advice(value: str, hint: str) -> None:
    inputs = {"data_source": "x", "limit": value}
    asking = {"id": "b", "agent_type": "data_agent", "action": "process_data", "inputs": inputs}
    fault = only(workflow(step("a"), asking, step("c-d")))
    assert (fault.path, fault.code) == ("steps[1].inputs.limit", "bad_input")
    assert fault.message.endswith(f"(inputs of data_agent.process_data){hint}")


def test_of_an_agent_whose_type_cannot_be_read_nothing_is_said() -> None:
    without_type = {"id": "a", "agent_id": "fancy", "action": "anything", "inputs": {}}
    bad_type = without_type | {"id": "b", "agent_type": "no type"}
    other = step("c", agent_id="fancy")
    _, found = lint(workflow(without_type, bad_type, other), AGENTS, NamedAgents())
    assert [(fault.path, fault.code) for fault in found] == [
        ("steps[0].agent_type", "missing_field"),
        ("steps[1].agent_type", "invalid_value"),
        ("steps[2].agent_id", "unknown_agent"),
    ]


@pytest.mark.parametrize(
    "inputs",
    [
        {"data_source": "a.output"},
        {"data_source": "a.output.records", "limit": "${size(steps.a.output)}", "note": "of ${steps.a.output}"},
        {"data_source": {"kind": "a.output.kind", "whatever": 1}},
        {"data_source": {"kind": "csv", "path": "inputs.path"}},
        {"data_source": ["a.output", {"x": "a.output"}]},
        {"data_source": "${'a.output'}", "limit": "${2 + 3}"},
    ],
)
def test_inputs_known_at_run_time_only_are_no_faults(inputs: dict[str, Any]) -> None:
    raw = workflow(step("a"), {"id": "b", "agent_type": "data_agent", "action": "process_data", "inputs": inputs})
    assert faults(raw) == []


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"data_source": "a.output", "limit": 0}, [("limit", "bad_input")]),
        ({"data_source": "a.output", "limit": "${0 - 1}"}, [("limit", "bad_input")]),
        ({"data_source": "a.output", "limit": "n: ${inputs.n}"}, [("limit", "bad_input")]),
        ({"data_source": {"kind": "csv"}}, [("data_source.path", "missing_input")]),
        ({"data_source": {"kind": "inline", "records": ["a.output", 5]}}, [("data_source.records[1]", "bad_input")]),
        ({"limit": "a.output", "x": "a.output"}, [("x", "unknown_input"), ("data_source", "missing_input")]),
    ],
)
def test_what_is_known_is_checked_beside_what_is_not(inputs: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    raw = workflow(step("a"), {"id": "b", "agent_type": "data_agent", "action": "process_data", "inputs": inputs})
    assert places(raw) == [(f"steps[1].inputs.{path}", code) for path, code in expected]


def test_a_schema_that_cannot_be_used_is_told() -> None:
    agents = {"data_agent": agent("data_agent", anything={"$ref": "http://127.0.0.1:9/schema"})}
    fault = only(workflow(step("a")), agents)
    assert (fault.path, fault.code) == ("steps[0].action", "bad_schema")
