"""Expressions: what they read, what they give, and that no text can hurt the process."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.definitions.cel_analysis import FUNCTIONS, METHODS
from services.runtime.definitions.expressions import BadExpression, Expression, ExpressionError

ROOT = Path(__file__).resolve().parents[5]

RECORDS = [{"id": i, "price": i * 1.5, "tags": ["a"] * i} for i in range(5)]
STEPS: dict[str, Any] = {
    "a": {
        "output": {"x": 1, "f": 1.5, "none": None, "l": [1, 2, 3], "m": {"z": 2, "b": 1, "k-y": 3}, "text": "é'\""},
        "status": "succeeded",
    },
    "load": {"output": RECORDS, "status": "succeeded"},
    "b": {"output": None, "status": "skipped"},
    "my-step": {"output": 7, "status": "succeeded"},
}
INPUTS = {"limit": 3, "rate": 2.0, "key": "x", "who": "me"}


def evaluate(source: str, inputs: Mapping[str, Any] = INPUTS) -> Any:
    return Expression.parse(source).evaluate(STEPS, inputs)


# ---- what an expression reads


@pytest.mark.parametrize(
    ("source", "step_ids", "variables"),
    [
        ("1 + 1", set(), set()),
        ("steps.a.output.x > inputs.limit", {"a"}, {"steps", "inputs"}),
        ("steps['my-step'].output == 7", {"my-step"}, {"steps"}),
        (r'steps["\x61"].output == steps[r"b"].output', {"a", "b"}, {"steps"}),
        ("steps . a // the first\n . output", {"a"}, {"steps"}),
        ("steps.a", {"a"}, {"steps"}),
        ("steps.a.output[steps.b.output]", {"a", "b"}, {"steps"}),
        ("has(steps.a.output.x) && !has(inputs.nothing)", {"a"}, {"steps", "inputs"}),
        ("foo + bar.baz[qux]", set(), {"foo", "bar", "qux"}),
        ("{foo: 'bar'}", set(), {"foo"}),
        ("'steps.a' + \"inputs\" + r'foo'", set(), set()),
        ("type(1) == int && type('') != null_type", set(), set()),
        ("steps.load.output.filter(r, r.id > 1).map(r, r.id)", {"load"}, {"steps"}),
        ("[1].map(x, x + y)", set(), {"y"}),
        ("[1].map(x, 1) == x", set(), {"x"}),
        ("[x].map(x, x)", set(), {"x"}),
        ("[1].exists(x, [2].all(y, x < y && z))", set(), {"z"}),
        ("[1].map(x, x > 0, x + steps.a.output.x)", {"a"}, {"steps"}),
        ("[1].map(steps, steps + 1)", set(), set()),
        ("[1].map(steps, steps + 1)[0] == steps.a.output.x", {"a"}, {"steps"}),
        ("[1].exists_one(x, steps.b.status == 'skipped')", {"b"}, {"steps"}),
    ],
)
def test_steps_and_free_variables(source: str, step_ids: set[str], variables: set[str]) -> None:
    expression = Expression.parse(source)
    assert expression.step_ids == step_ids
    assert expression.variables == variables
    assert expression.unknown_variables == tuple(sorted(variables - {"steps", "inputs"}))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "Syntax error"),
        ("1 +", "Syntax error: mismatched input '<EOF>' at character 4"),
        ("a\n  b", "at line 2, character 3"),
        ("steps.", "Syntax error"),
        ("steps[inputs.key].output", "known only at run time"),
        ("steps['a' + 'b'].output", "known only at run time"),
        ("[1].map(x, steps[x])", "known only at run time"),
        ("steps", "steps.NAME"),
        ("size(steps)", "steps.NAME"),
        ("(steps).a", "steps.NAME"),
        ("steps.map(x, x)", "steps.NAME"),
        ("'a' in steps", "steps.NAME"),
        ("steps.a.outputs", "a step has output and status"),
        ("steps['a']['result'].x", "a step has output and status"),
        ("${steps.a.output}", "without ${ }"),
        ("now()", "no function 'now'"),
        ("'A'.lowerAscii()", "no function 'lowerAscii'"),
        ("inputs.macro__(0, {})", "no function 'macro__'"),
        ("optional.of(1)", "no function 'of'"),
        (".steps.a.output", "may not begin with a dot"),
        ("Message{field: 1}", "messages cannot be built"),
        ("[1].map(x)", "list.map(x, expression)"),
        ("[1].all(x, true, true)", "list.all(x, expression)"),
        ("[1].map(x.y, 1)", "must be a simple name"),
        ("for", "reserved identifier"),
        ("99999999999999999999", "invalid int literal"),
        ("'\\ud800'", "invalid string literal"),
    ],
)
def test_bad_expressions(source: str, said: str) -> None:
    with pytest.raises(BadExpression) as caught:
        Expression.parse(source)
    assert said in str(caught.value)


def test_every_function_that_is_allowed_exists() -> None:
    calls = {
        "has": "has(inputs.who)",
        "timestamp": "timestamp('2024-01-02T03:04:05Z')",
        "duration": "duration('1h')",
        "contains": "'abc'.contains('b')",
        "startsWith": "'abc'.startsWith('a')",
        "endsWith": "'abc'.endsWith('c')",
        "matches": "'abc'.matches('^a')",
        "size": "'abc'.size() == size('abc')",
    }
    for name in FUNCTIONS - calls.keys():
        calls[name] = f"{name}('12')"
    for name in METHODS - calls.keys():
        calls[name] = f"timestamp('2024-01-02T03:04:05Z').{name}()"
    assert calls.keys() == FUNCTIONS | METHODS
    assert all(evaluate(call) is not None for call in calls.values())


# ---- values


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("steps.a.output.x + 1", 2),
        ("steps.a.output.f * double(steps.a.output.x)", 1.5),
        ("steps.a.output.x == 1.0 && steps.a.output.f > 1", True),
        ("steps.a.output.none == null", True),
        ("steps.b.output == null && steps.b.status == 'skipped'", True),
        ("steps.a.output['m']['k-y']", 3),
        ("steps.a.output.l[inputs.limit - 1]", 3),
        ("steps.a.output[inputs.key]", 1),
        ("steps.a.output.text", "é'\""),
        ("steps['my-step'].output", 7),
        ("'who' in inputs && !('what' in inputs)", True),
        ("inputs.map(k, k)", ["key", "limit", "rate", "who"]),
        ("has(inputs.none) ? inputs.none : 'default'", "default"),
        ("{'b': 1, 'a': [null, true]}", {"a": [None, True], "b": 1}),
        ("{2: 'x', true: 'y'}", {"2": "x", "true": "y"}),
        ("b'abc'", "YWJj"),
        ("timestamp('2024-01-01T01:00:00+01:00')", "2024-01-01T00:00:00Z"),
        ("duration('90.5s')", "90.5s"),
        ("duration('-1.25s')", "-1.25s"),
        ("3u", 3),
        ("steps.a.status", "succeeded"),
        ("1 > 0 || steps.a.output.missing", True),
        ('\'it\' + "\'s" + """ "quoted" """', 'it\'s "quoted" '),
    ],
)
def test_values(source: str, value: Any) -> None:
    found = evaluate(source)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("steps.a.output.missing", "steps.a.output has no 'missing'; it has f, l, m, none, text, x"),
        ("inputs.nothing", "inputs has no 'nothing'; it has key, limit, rate, who"),
        ("steps.b.output.x", "steps.b.output is null, so it has no 'x' (step 'b' was skipped"),
        ("steps.a.output.none.x", "steps.a.output.none is null, so it has no 'x'"),
        ("steps.a.output.x.y", "steps.a.output.x is a number, so it has no 'y'"),
        ("steps.nobody.output", "steps has no 'nobody'; it has a, b, load, my-step"),
        ("steps.a.output.l[9]", "index out of bounds: 9"),
        ("steps.load.output.map(r, r.nothing)", "there is no key 'nothing'"),
        ("steps.a.output.x + 1.5", "not defined for these types"),
        ("'a' + 1", "string + int"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "overflow"),
        ("1.0 / 0.0", "inf, which is no JSON number"),
        ("18446744073709551615u", "more than 64 bits"),
        ("{1: 'x', '1': 'y'}", "the same text"),
        ("size('a', 'b')", "'size' is no variable, and no function that takes these arguments"),
        ("'a'.matches('(')", "not a valid regex"),
        ("timestamp('yesterday')", "timestamp"),
        ("inputs.who.map(x, x)", "map goes over a list or a map, not over a text"),
        ("[1].filter(x, x)", "gave a number, not true or false"),
    ],
)
def test_failures_name_the_expression_and_the_cause(source: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source)
    assert said in str(caught.value)
    assert repr(source) in str(caught.value)
    assert "CEL does not coerce" not in str(caught.value)


def test_a_condition_is_true_or_false() -> None:
    assert Expression.parse("steps.a.output.x == 1").holds(STEPS, INPUTS) is True
    assert Expression.parse("steps.a.output.x == 2").holds(STEPS, INPUTS) is False
    with pytest.raises(ExpressionError, match="gave 1, not true or false"):
        Expression.parse("steps.a.output.x").holds(STEPS, INPUTS)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_integers_that_would_be_rounded_are_refused(number: int) -> None:
    with pytest.raises(ExpressionError, match=f"{number} has more than 64 bits"):
        evaluate("inputs.n > 0", {"n": number})
    assert evaluate("inputs.other", {"n": number, "other": 1}) == 1


@pytest.mark.parametrize("value", ["\ud800", {1, 2}, object()])
def test_what_is_no_json_is_an_error_and_no_crash(value: Any) -> None:
    with pytest.raises(ExpressionError):
        evaluate("inputs.n == 1", {"n": value})


def test_only_the_steps_that_are_read_are_asked_for() -> None:
    asked: list[str] = []

    class Watched(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            asked.append(key)
            return super().__getitem__(key)

    steps = Watched(STEPS)
    assert Expression.parse("steps.a.output.x == 1 || steps.b.output").evaluate(steps, INPUTS) is True
    assert sorted(asked) == ["a", "b"]


def test_an_expression_is_shared_by_threads() -> None:
    expression = Expression.parse("steps.load.output.filter(r, r.id > inputs.limit).map(r, r.id)")
    found: list[Any] = []

    def work() -> None:
        found.extend(expression.evaluate(STEPS, {"limit": limit}) for limit in (1, 3) * 20)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(tuple, found)) == [(2, 3, 4)] * 80 + [(4,)] * 80


# ---- hostile texts


KILLERS = """
import sys, threading
from services.runtime.definitions.expressions import BadExpression, Expression, ExpressionError
from services.runtime.definitions.cel_syntax import MAX_CHAIN, MAX_NESTING, MAX_OPERATORS

def build(n, chain, nesting, operators):
    yield "steps" + ".a" * chain
    yield "inputs" + "[0]" * chain
    yield "'a'" + ".size()" * chain
    yield "+".join(["1"] * operators)
    yield "<".join(["1"] * operators)
    yield "!" * operators + "true"
    yield "-" * operators + "1"
    yield "1 in " * operators + "[1]"
    yield "true?1:" * operators + "1"
    yield "true?" * operators + "1" + ":1" * operators
    yield "(" * nesting + "1" + ")" * nesting
    yield "(" * nesting
    yield ")" * nesting
    yield "[" * nesting + "]" * nesting
    yield "{1:" * nesting + "1" + "}" * nesting
    yield "size(" * nesting + "1" + ")" * nesting
    yield "[1].map(x," * nesting + "x" + ")" * nesting
    yield "[1]" + ".map(x,x)" * chain
    yield ("inputs" + ".a" * min(chain - 1, 31) + "[") * nesting + "0" + "]" * nesting
    yield "(1+" * nesting + "+".join(["1"] * (operators - nesting)) + ")" * nesting
    yield "&&".join(["true"] * n)
    yield "||".join(["false"] * n)
    yield "[" + ",".join(["1"] * n) + "]"
    yield "'" * n
    yield '"' * n
    yield "1 " * n
    yield "r'" * n
    yield "${" * n
    yield "//" * n
    yield "\\\\" * n
    yield "\\0" * n

def run():
    said = 0
    for source in [*build(50_000, 50_000, 50_000, 50_000), *build(800, MAX_CHAIN, MAX_NESTING, MAX_OPERATORS)]:
        try:
            Expression.parse(source).evaluate({}, {})
        except (BadExpression, ExpressionError):
            pass
        said += 1
    print("survived", said)

threading.stack_size(1 << 20)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def test_no_known_killer_ends_the_process() -> None:
    """In a process of its own, with a stack of one megabyte. The library by itself dies of several of these."""
    done = subprocess.run([sys.executable, "-c", KILLERS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "survived 62"), done.stderr[-2_000:]


def test_the_librarys_panics_are_caught() -> None:
    """Its panics are no Exception; a limit that was too wide must still not end the service."""
    program = (
        "import cel\n"
        "from services.runtime.definitions.cel_evaluation import is_the_librarys\n"
        "try:\n    cel.compile('(' * 100_000 + '1' + ')' * 100_000)\n"
        "except BaseException as error:\n    print(isinstance(error, Exception), is_the_librarys(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False True", done.stderr[-2_000:]


def test_an_interrupt_is_not_taken_for_a_bad_expression(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cel, "compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Expression.parse("1")


WORDS = [
    *"()[]{}.,?:+-*/%!<>'\" \né\\\0\ud800",
    *("==", "&&", "||", "//", "r'", "${", "in", "true", "null", "1", "2.5", "3u", "'s'", "b'\\x00'"),
    *("[1,2]", "{'a':1}", "timestamp('2024-01-01T00:00:00Z')", "duration('1s')"),
    *("x", "a", "steps", "inputs", "output", "steps.a.output", "inputs.l"),
    *(".map(x,", ".filter(x,", ".exists(x,", "has(", "size(", ".size()"),
]


def json_values() -> st.SearchStrategy[Any]:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    return st.recursive(
        scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below)
    )


def parts_of(value: Any) -> Iterator[Any]:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield value
    for each in below:
        yield from parts_of(each)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25).map("".join), json_values(), json_values())
def test_any_text_on_any_values_gives_a_value_or_a_reason(source: str, output: Any, given: Any) -> None:
    steps = {"a": {"output": output, "status": "succeeded"}}
    try:
        value = Expression.parse(source).evaluate(steps, {"l": given, "a": 1})
    except (BadExpression, ExpressionError) as reason:
        if not str(reason):
            raise
        return
    kinds = {bool, int, float, str, list, dict, type(None)}
    assert {type(each) for each in parts_of(value)} <= kinds
