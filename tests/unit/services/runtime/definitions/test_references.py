"""References in inputs: which texts are references, what they resolve to, and what is said where they cannot."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.workflow import MAX_INPUT_DEPTH
from services.runtime.definitions.expressions import BadExpression, ExpressionError
from services.runtime.definitions.input_paths import render_path
from services.runtime.definitions.references import BadReference, CompiledInputs, UnresolvedReference, compile_inputs

STEPS: dict[str, Any] = {
    "load": {
        "output": {"records": [{"name": "Ada"}, {"name": "Bo"}], "total": 2, "0": "zero", "größe": 1, "none": None},
        "status": "succeeded",
    },
    "my-step": {"output": [10, [20]], "status": "succeeded"},
    "left_out": {"output": None, "status": "skipped"},
    "empty": {"output": None, "status": "succeeded"},
}
INPUTS = {"limit": 3, "who": {"name": "Cy"}, "list": ["x"]}


def resolve(value: Any, inputs: Mapping[str, Any] = INPUTS) -> Any:
    return compile_inputs({"it": value}, STEPS).resolve(STEPS, inputs)["it"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("load.output", STEPS["load"]["output"]),
        ("load.output.total", 2),
        ("load.output.records.0.name", "Ada"),
        ("load.output.0", "zero"),
        ("load.output.größe", 1),
        ("load.output.none", None),
        ("my-step.output.1.0", 20),
        ("empty.output", None),
        ("left_out.output", None),
        ("left_out.output.any.path.0", None),
        ("inputs.limit", 3),
        ("inputs.who.name", "Cy"),
        ("inputs.list.0", "x"),
        ("${steps.load.output.total}", 2),
        ("${ steps.load.output.records }", STEPS["load"]["output"]["records"]),
        ("${steps['my-step'].output[1][0] + inputs.limit}", 23),
        ("${ {'a': {'b': '}'}} }", {"a": {"b": "}"}}),
        ("${inputs.limit > 2}\n", True),
        ("${'load.output'}", "load.output"),
        ("${'${'}", "${"),
        ("${null}", None),
    ],
)
def test_what_references_give(text: str, value: Any) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("total ${steps.load.output.total} EUR", "total 2 EUR"),
        ("${inputs.limit}${inputs.limit}", "33"),
        (" ${inputs.limit}", " 3"),
        ("Dear ${inputs.who.name}: ${[1, 2.0, null, true]}", "Dear Cy: [1, 2.0, null, true]"),
        ("${ {'b': 'é', 'a': {}} }.", '{"a": {}, "b": "é"}.'),
        ("${steps.left_out.output}!", "null!"),
        ("${'}'}}", "}}"),
        ("$${inputs.limit}", "$3"),
        ("a\n${inputs.limit // the limit, not }\n}", "a\n3"),
    ],
)
def test_expressions_within_a_text(text: str, value: str) -> None:
    assert resolve(text) == value


PLAIN = [
    "load.outputs",
    "see load.output please",
    "load.output total",
    "load.output, twice",
    "Load",
    "output",
    ".output",
    "load",
    "load.status",
    "inputs",
    "inputs.",
    "my inputs.limit",
    "steps.nobody.output",
    "9.output",
    "a b.output",
    "$5 {x}",
    "$ {x}",
    "costs $",
    "load.output\n",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_texts_stay_as_they_are(text: str) -> None:
    compiled = compile_inputs({"it": text}, STEPS)
    assert compiled.locations == ()
    assert compiled.resolve(STEPS, INPUTS) == {"it": text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lod.output", "'lod' is no step of this workflow"),
        ("lod.output.records.0", "'lod' is no step"),
        ("steps.output", "'steps' is no step"),
        ("load-2.output", "'load-2' is no step"),
        ("load.output[0]", "load.output.key.0.key"),
        ("load.output.records[0].name", "load.output.key.0.key"),
        ("load.output.", "load.output.key.0.key"),
        ("load.output..total", "load.output.key.0.key"),
        ("load.output['a']", "load.output.key.0.key"),
        ("steps.load.output.total", "load.output.key.0.key"),
        ("inputs.list[0]", "inputs.key.0.key"),
    ],
)
def test_misspelt_references_are_faults_that_say_how_to_mean_the_text(text: str, said: str) -> None:
    (location,) = compile_inputs({"it": {"deep": [text]}}, STEPS).locations
    assert isinstance(location.problem, BadReference)
    assert location.path == ("it", "deep", 0)
    assert location.step_ids == ()
    message = str(location.problem)
    assert said in message
    # What the message advises does give that text.
    advised = message[message.rindex("${") :]
    assert resolve(advised) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${1 +}", "'${1 +}': Syntax error"),
        ("${", "no '}' ends '${'"),
        ("a ${'b} c", "is not closed"),
        ("${}", "Syntax error"),
        ("${steps[inputs.x].output}", "known only at run time"),
        ("${1 +} and ${2 +}", "'${2 +}'"),
        ("${1}" * 101, "a text may hold 100 expressions"),
        ("${HOME", "no '}' ends"),
    ],
)
def test_bad_expressions_in_texts(text: str, said: str) -> None:
    (location,) = compile_inputs({"it": text}, STEPS).locations
    assert isinstance(location.problem, BadExpression)
    assert said in str(location.problem)


def test_inputs_that_were_never_validated_do_not_resolve() -> None:
    with pytest.raises(BadReference, match="'lod' is no step"):
        resolve("lod.output")
    with pytest.raises(BadExpression, match="Syntax error"):
        resolve("${1 +}")


# ---- where, and of what kind


def test_locations_are_what_validation_needs() -> None:
    inputs = {
        "whole": "load.output.records",
        "given": "inputs.limit",
        "nested": [{"a b": "${steps['my-step'].output[0] + steps.load.output.total}"}, "plain"],
        "text": "${foo} of ${steps.load.output.total}",
        "known": "${'a'}",
        "load.output": 1,
    }
    compiled = compile_inputs(inputs, STEPS)
    found = [(render_path(each.path), each.kind, each.step_ids, each.constant) for each in compiled.locations]
    assert found == [
        ("whole", "reference", ("load",), False),
        ("given", "reference", (), False),
        ('nested[0]["a b"]', "expression", ("load", "my-step"), False),
        ("text", "text", ("load",), False),
        ("known", "expression", (), True),
    ]
    assert [each.unknown_variables for each in compiled.locations] == [(), (), (), ("foo",), ()]
    assert compiled.locations[0].source == "load.output.records"
    assert compiled.step_ids == {"load", "my-step"}


@pytest.mark.parametrize("step_ids", [["load"], ("load",), {"load"}, {"load": 1}, frozenset({"load"})])
def test_step_ids_may_be_any_collection(step_ids: Any) -> None:
    assert compile_inputs({"it": "load.output"}, step_ids).step_ids == {"load"}


# ---- what is said where nothing is found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("load.output.totl", "load.output has no 'totl'; it has 0, größe, none, records, total"),
        ("load.output.records.2.name", "load.output.records has no '2'; it is a list of 2, counted from 0"),
        ("load.output.records.-1", "load.output.records has no '-1'"),
        ("load.output.records.first", "load.output.records has no 'first'"),
        ("load.output.total.x", "load.output.total has no 'x'; it is 2"),
        ("load.output.none.x", "load.output.none has no 'x'; it is null"),
        ("load.output.records." + "9" * 5_000, "it is a list of 2"),
        ("empty.output.x", "empty.output has no 'x'; it is null"),
        ("inputs.limits", "inputs has no 'limits'; it has limit, list, who"),
        ("inputs.who.nam", "inputs.who has no 'nam'; it has name"),
    ],
)
def test_unresolved_references(text: str, said: str) -> None:
    with pytest.raises(UnresolvedReference) as caught:
        compile_inputs({"a": [{"b": text}]}, STEPS).resolve(STEPS, INPUTS)
    assert str(caught.value).startswith("input a[0].b: '")
    assert said in str(caught.value)


def test_a_file_name_that_looks_like_an_input_gets_advice() -> None:
    with pytest.raises(UnresolvedReference, match=r"to mean the text itself, write \$\{'inputs.csv'\}"):
        resolve("inputs.csv")


def test_a_step_that_has_not_run_has_no_output() -> None:
    compiled = compile_inputs({"it": "load.output"}, STEPS)
    with pytest.raises(UnresolvedReference, match="step 'load' has no output yet"):
        compiled.resolve({}, {})


def test_an_expression_that_fails_names_the_input() -> None:
    with pytest.raises(ExpressionError, match=r"input it\.a: '1 / inputs\.zero': division by zero"):
        resolve({"a": "n: ${1 / inputs.zero}"}, {"zero": 0})


# ---- copies


def test_what_is_resolved_shares_nothing_with_the_definition_or_the_outputs() -> None:
    inputs = {"plain": {"list": [1, {"a": 2}]}, "ref": "load.output", "same": "load.output.records", "in": "inputs.who"}
    before = copy.deepcopy((inputs, STEPS, INPUTS))
    compiled = compile_inputs(inputs, STEPS)
    resolved = compiled.resolve(STEPS, INPUTS)
    expected = copy.deepcopy(resolved)
    for container in containers(resolved):
        container.clear()
    assert (inputs, STEPS, INPUTS) == before
    assert compiled.resolve(STEPS, INPUTS) == expected


def containers(value: Any) -> Iterator[Any]:
    below = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    for each in below:
        yield from containers(each)
    if isinstance(value, dict | list):
        yield value


def nested(levels: int, inside: Any) -> Any:
    value = inside
    for _ in range(levels):
        value = [value]
    return value


def test_resolved_inputs_nest_no_deeper_than_the_store_allows() -> None:
    steps = {"a": {"output": nested(40, 1), "status": "succeeded"}}
    # The inputs themselves are one level, and 23 lists around the reference.
    fits = compile_inputs({"it": nested(MAX_INPUT_DEPTH - 41, "a.output")}, steps).resolve(steps, {})
    assert fits["it"] == nested(MAX_INPUT_DEPTH - 1, 1)
    with pytest.raises(UnresolvedReference, match="nest deeper than 64 levels"):
        compile_inputs({"it": nested(MAX_INPUT_DEPTH - 40, "a.output")}, steps).resolve(steps, {})
    with pytest.raises(UnresolvedReference, match="the inputs: with this value"):
        compile_inputs({"it": nested(MAX_INPUT_DEPTH, 1)}, steps).resolve(steps, {})


def test_ten_thousand_levels_are_looked_through_without_recursion() -> None:
    compiled = compile_inputs({"it": nested(10_000, "load.output")}, STEPS)
    assert compiled.step_ids == {"load"}


class Counting(dict[str, Any]):
    """A mapping that counts how often a key of it is asked for."""

    asked = 0

    def __getitem__(self, key: str) -> Any:
        self.asked += 1
        return super().__getitem__(key)


def test_resolving_asks_for_no_step_that_is_not_referred_to() -> None:
    steps = Counting(STEPS)
    compile_inputs({"a": 1, "b": ["x", {"c": None}]}, steps).resolve(steps, INPUTS)
    assert steps.asked == 0
    compile_inputs({"a": "load.output.total", "b": "${steps['my-step'].output}"}, steps).resolve(steps, INPUTS)
    assert steps.asked == 2


# ---- any JSON at all

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from([*PLAIN, "load.output", "load.output.total", "inputs.limit", "lod.output", "${1 + 1}", "x${'y'}"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
    max_leaves=20,
)


def by_hand(value: Any, compiled: CompiledInputs, path: tuple[Any, ...] = ()) -> Any:
    """The same as ``resolve``, the slow way: every place is looked at, and replaced where a location says so."""
    for location in compiled.locations:
        if location.path == path:
            return location.value(STEPS, INPUTS)
    if isinstance(value, dict):
        return {key: by_hand(below, compiled, (*path, key)) for key, below in value.items()}
    if isinstance(value, list):
        return [by_hand(below, compiled, (*path, i)) for i, below in enumerate(value)]
    return value


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_any_inputs_resolve_to_json_or_name_the_problem(inputs: dict[str, Any]) -> None:
    before = json.dumps(inputs)
    compiled = compile_inputs(inputs, STEPS)
    try:
        resolved = compiled.resolve(STEPS, INPUTS)
    except (BadReference, BadExpression):
        assert [each for each in compiled.locations if each.problem]
    else:
        assert not [each for each in compiled.locations if each.problem]
        assert resolved == by_hand(inputs, compiled)
        json.dumps(resolved)
    assert json.dumps(inputs) == before
