"""YAML as it is read here: JSON's values, and nothing that surprises or explodes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.yaml_values import YamlFault, load_yaml

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(min_codepoint=32, max_codepoint=126)), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_json_is_read_as_json(value: Any) -> None:
    assert load_yaml(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment", None),
        ("~", None),
        ("a:", {"a": None}),
        ("on: [Timeout]", {"on": ["Timeout"]}),
        ("[yes, no, on, off, y, n]", ["yes", "no", "on", "off", "y", "n"]),
        ("[true, True, FALSE]", [True, True, False]),
        ("2026-01-31", "2026-01-31"),
        ("12:30:45", "12:30:45"),
        ("[012, 0o17, 0x1f, -3, +4]", [12, 15, 31, -3, 4]),
        ("[1., .5, 1e3, -1.5E-2]", [1.0, 0.5, 1000.0, -0.015]),
        ("[1_000, 0b1, '1', \"true\", !!str 12]", ["1_000", "0b1", "1", "true", "12"]),
        ("a: |\n  line\n  next\n", {"a": "line\nnext\n"}),
        ("x: &v [1, {y: 2}]\nz: *v", {"x": [1, {"y": 2}], "z": [1, {"y": 2}]}),
        ("? &k key\n: 1\nother: *k", {"key": 1, "other": "key"}),
        ("'<<': text", {"<<": "text"}),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    assert load_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "words", "line", "column"),
    [
        ("a: 1\na: 2", "stands twice", 2, 1),
        ("a: 1\n1: 2", "must be a string, not 1", 2, 1),
        ("a: 1\n? [b]\n: c", "must be a string", 2, 3),
        ("a: &x\n  b: *x", "inside, or before", 2, 6),
        ("a: *unknown", "inside, or before", 1, 4),
        ("base: &b {x: 1}\nc:\n  <<: *b", "merge keys", 3, 3),
        ("a: !!python/object:os.system ls", "is not supported", 1, 4),
        ("a: !!binary aGk=", "is not supported", 1, 4),
        ("a: !mine {b: 1}", "is not supported", 1, 4),
        ("a: .inf", "no number that JSON can say", 1, 4),
        ("a: .nan", "no number that JSON can say", 1, 4),
        ("a: 1e999", "too large", 1, 4),
        ("a: " + "9" * 5000, "too many digits", 1, 4),
        ("--- 1\n--- 2", "several documents", 2, 1),
        ("a: [1, 2", "did not find expected", 2, 1),
        ("a: b: c", "mapping values are not allowed", 1, 5),
    ],
)
def test_a_fault_says_what_and_where(text: str, words: str, line: int, column: int) -> None:
    with pytest.raises(YamlFault, match=words) as raised:
        load_yaml(text)
    assert (raised.value.line, raised.value.column) == (line, column)


@pytest.mark.parametrize("text", ["[" * 1_000_000, "- " * 1_000_000, "{a: " * 1_000_000, "[" * 101 + "]" * 101])
def test_deep_nesting_is_refused_before_it_harms(text: str) -> None:
    with pytest.raises(YamlFault, match="nested deeper than 100 levels"):
        load_yaml(text)


def test_nesting_up_to_the_limit_is_read() -> None:
    value = load_yaml("[" * 100 + "]" * 100)
    depth = 1
    while value:
        (value,) = value
        depth += 1
    assert depth == 100


def test_aliases_cannot_make_a_small_text_huge() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(YamlFault, match="once its aliases are followed"):
        load_yaml("\n".join(lines))


def test_aliases_of_a_long_text_count_with_its_length() -> None:
    text = f"long: &long {'x' * 1_000_000}\nall: [{', '.join(['*long'] * 20)}]"
    with pytest.raises(YamlFault, match="once its aliases are followed"):
        load_yaml(text)


@pytest.mark.parametrize("raw", [b"\xff\xfe\xff\xff", b"a: \x00", b"a: \x80"])
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(YamlFault):
        load_yaml(raw)
