"""validate_data: every rule, told by row."""

import math
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.data_agent.requests import ValidateDataInput


@pytest.fixture
def broken_rows(run):
    """The rows that break one rule on a column ``v``."""

    def broken(values: list[Any], types: dict[str, str] | None = None, **rules: Any) -> list[int]:
        source = {"records": [{"v": value} for value in values], "types": types or {}}
        output = run("validate_data", data_source=source, rules={"v": rules})
        assert output["failure_count"] == len(output["failures"])
        assert output["valid"] is (output["failure_count"] == 0)
        assert all(failure["column"] == "v" for failure in output["failures"])
        return [failure["row"] for failure in output["failures"]]

    return broken


@pytest.mark.parametrize(
    ("type_", "values", "broken"),
    [
        ("text", ["a", "", None], []),
        ("text", [1, 2, None], [1, 2]),
        ("integer", [1, None, 2**70], []),
        ("integer", [1.0, 2.5, math.inf, -3.0], [2, 3]),
        ("integer", ["5", "-7", "+1", "5.0", " 5", "0x10", "", "x"], [4, 5, 6, 7, 8]),
        ("number", [1, 2.5], []),
        ("number", ["5", "-.5", "1e3", "1_000", "0x10", "nan", "inf", "1,5"], [4, 5, 6, 7, 8]),
        ("boolean", [True, None], []),
        ("boolean", ["true", "FALSE", "yes", "1"], [3, 4]),
        ("boolean", [0, 1], [1, 2]),
        ("date", ["2024-02-29", "2023-02-29", "2024-1-1", "2024-01-01 10:00:00", "soon"], [2, 3, 4, 5]),
        ("timestamp", ["2024-01-01T10:00:00Z", "2024-01-01 10:00", "2024-01-01", "2024-13-01T10:00:00"], [3, 4]),
        ("uuid", ["00000000-0000-0000-0000-00000000000A", "0"], [2]),
        ("list", [[1], {"a": 1}, None], [2]),
        ("object", [[1], {"a": 1}, None], [1]),
        ("integer", [[1], 5, "5", 5.5], [1, 3, 4]),
        ("integer", [None, None], []),
    ],
)
def test_type(broken_rows, type_, values, broken) -> None:
    assert broken_rows(values, type=type_) == broken


def test_typed_columns_have_their_type(broken_rows) -> None:
    assert broken_rows(["2024-01-01"], {"v": "DATE"}, type="date") == []
    assert broken_rows(["2024-01-01"], {"v": "DATE"}, type="timestamp") == [1]
    assert broken_rows(["2024-01-01"], {"v": "TIMESTAMP"}, type="timestamp") == []
    assert broken_rows([1.5, 2.0], {"v": "DECIMAL(5,2)"}, type="integer") == [1]


def test_not_null_and_unique(broken_rows) -> None:
    assert broken_rows([1, None, 3, None], not_null=True) == [2, 4]
    assert broken_rows(["a", "b", "a", None, "a", None], unique=True) == [3, 5]
    assert broken_rows([[1], [2], [1]], unique=True) == [3]


def test_bounds_are_inclusive_and_skip_nulls(broken_rows) -> None:
    assert broken_rows([1, 2, None, 5, 6], min=2, max=5) == [1, 5]
    assert broken_rows([0.1, 0.2], min=0.15) == [1]
    assert broken_rows(["5", "40", "x"], max=9) == [2, 3]
    assert broken_rows(["2024-01-05", "2023-12-31"], {"v": "DATE"}, min="2024-01-01") == [2]
    assert broken_rows(["b", "a"], min="b") == [2]
    assert broken_rows([math.inf, 1.0], max=1e300) == [1]
    assert broken_rows([2**63, 5], max=2**62) == [1]


def test_allowed_values(broken_rows) -> None:
    assert broken_rows(["a", "A", None, "it's"], **{"in": ["a", "it's"]}) == [2]
    assert broken_rows([1, 2, 3], **{"in": [1, 3.0]}) == [2]
    assert broken_rows([True, False], **{"in": [True]}) == [2]
    assert broken_rows(["2024-01-01", "2024-01-02"], {"v": "DATE"}, **{"in": ["2024-01-02"]}) == [1]
    assert broken_rows([1, "x", True], **{"in": [1, "x", True]}) == []


def test_regular_expressions_match_the_whole_text(broken_rows) -> None:
    assert broken_rows(["AB", "ABC", "xAB", "", None], regex="[A-Z]{2}") == [2, 3, 4]
    assert broken_rows([12345, 123], regex=r"\d{5}") == [2]
    assert broken_rows(["日本", "日"], regex=".{2}") == [2]


def test_lengths_count_characters(broken_rows) -> None:
    assert broken_rows(["é🙂", "a", "abcd", None], min_length=2, max_length=3) == [2, 3]


def test_failures_tell_row_column_rule_value_and_why(run) -> None:
    rows = [{"id": 1, "from": "2024-01-02", "to": "2024-01-01"}, {"id": 1, "from": None, "to": "2024-01-01"}]
    source = {"records": rows, "types": {"from": "DATE", "to": "DATE"}}
    output = run(
        "validate_data",
        data_source=source,
        rules={"id": {"unique": True, "min": 1}, "from": {"not_null": True}, "gone": {"not_null": True}},
        checks=[{"name": "in order", "expression": '"from" <= "to"'}],
    )
    assert output["valid"] is False
    assert (output["checked_rows"], output["failure_count"], output["truncated"]) == (2, 4, False)
    assert output["results"] == [
        {"column": "gone", "rule": "present", "failures": 1},
        {"column": "id", "rule": "unique", "failures": 1},
        {"column": "id", "rule": "min", "failures": 0},
        {"column": "from", "rule": "not_null", "failures": 1},
        {"column": None, "rule": "in order", "failures": 1},
    ]
    assert output["failures"] == [
        {"row": None, "column": "gone", "rule": "present", "value": None, "message": "there is no column 'gone'"},
        {"row": 2, "column": "id", "rule": "unique", "value": 1, "message": "occurs in an earlier row too"},
        {"row": 2, "column": "from", "rule": "not_null", "value": None, "message": "is null"},
        {
            "row": 1,
            "column": None,
            "rule": "in order",
            "value": {"id": 1, "from": "2024-01-02", "to": "2024-01-01"},
            "message": '"from" <= "to" is false',
        },
    ]


def test_a_check_fails_where_it_is_false_and_not_where_it_is_null(run) -> None:
    rows = [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": None, "b": 1}]
    output = run("validate_data", data_source=rows, checks=[{"name": "c", "expression": "a < b"}])
    assert [failure["row"] for failure in output["failures"]] == [2]
    rising = {"name": "rising", "expression": "b >= lag(b, 1, b) OVER ()"}
    output = run("validate_data", data_source=rows, checks=[rising])
    assert [failure["row"] for failure in output["failures"]] == [2]


def test_listed_failures_are_capped_and_all_are_counted(run) -> None:
    rows = [{"v": None, "w": 1}] * 500
    rules = {"v": {"not_null": True}, "w": {"max": 0}}
    output = run("validate_data", data_source=rows, rules=rules, max_failures=510)
    assert (len(output["failures"]), output["failure_count"], output["truncated"]) == (510, 1000, True)
    assert [result["failures"] for result in output["results"]] == [500, 500]
    assert output["failures"][500] == {
        "row": 1,
        "column": "w",
        "rule": "max",
        "value": 1,
        "message": "is not at most 0",
    }
    none = run("validate_data", data_source=rows, rules=rules, max_failures=0)
    assert (none["failures"], none["failure_count"], none["truncated"]) == ([], 1000, True)


def test_long_values_are_shortened(run) -> None:
    output = run("validate_data", data_source=[{"v": "x" * 5_000}], rules={"v": {"max_length": 3}})
    assert output["failures"][0]["value"] == "x" * 200 + "..."


def test_data_without_rows(run) -> None:
    output = run("validate_data", data_source=[], rules={"v": {"not_null": True}})
    assert (output["valid"], output["checked_rows"]) == (True, 0)
    assert output["notes"] == ["the data has no rows, so whether its columns are there cannot be said"]
    typed = {"records": [], "types": {"v": "BIGINT"}}
    output = run("validate_data", data_source=typed, rules={"v": {"min": 1}, "w": {"min": 1}})
    assert [failure["rule"] for failure in output["failures"]] == ["present"]


def test_odd_names_and_hostile_values(broken_rows, run) -> None:
    assert broken_rows(["'; DROP TABLE data; --", "b"], **{"in": ["b"]}) == [1]
    assert broken_rows(["a'b"], regex="a'b") == []
    output = run("validate_data", data_source=[{'q"q': 1}], rules={'q"q': {"min": 5, "unique": True}})
    assert output["failure_count"] == 1


@pytest.mark.parametrize(
    ("rules", "checks", "code", "told"),
    [
        ({"n": {"min": "a"}}, [], "BadRule", "rules of column 'n': rule 'min'"),
        ({"n": {"in": ["a"]}}, [], "BadRule", "a column of type BIGINT cannot hold 'a'"),
        ({"l": {"regex": "x"}}, [], "BadRule", "rule 'regex': a column of type JSON cannot be tested as text"),
        ({"l": {"max": 3}}, [], "BadRule", "rule 'max'"),
        ({"t": {"regex": "("}}, [], "BadExpression", "rule 'regex' of column 't': missing )"),
        ({"d": {"min": "soon"}}, [], "InvalidValue", "rule 'min' of column 'd'"),
        ({}, [{"name": "c", "expression": "nope > 1"}], "UnknownColumn", "check 'c': there is no column 'nope'"),
        ({}, [{"name": "c", "expression": "n IN (SELECT 1)"}], "BadExpression", "a subquery is not allowed"),
        ({}, [{"name": "c", "expression": "sum(n) > 1"}], "BadExpression", "check 'c'"),
    ],
)
def test_rules_that_cannot_be_tested_are_refused(refused, rules, checks, code, told) -> None:
    source = {"records": [{"n": 1, "t": "x", "l": [1], "d": "2024-01-01"}], "types": {"d": "DATE"}}
    error = refused("validate_data", data_source=source, rules=rules, checks=checks)
    assert error.code == code
    assert told in str(error)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"rules": {"a": {}}},
        {"rules": {"a": {"not_null": False}}},
        {"rules": {"a": {"minimum": 1}}},
        {"rules": {"a": {"min": True}}},
        {"rules": {"a": {"type": "int"}}},
        {"rules": {"a": {"in": []}}},
        {"rules": {"a": {"min_length": 5, "max_length": 4}}},
        {"checks": [{"expression": "true"}]},
    ],
)
def test_malformed_requests_are_refused(request_) -> None:
    with pytest.raises(ValueError, match="ValidateDataInput"):
        ValidateDataInput.model_validate({"data_source": [], **request_})


def test_the_json_schema_holds_for_its_examples() -> None:
    schema = ValidateDataInput.model_json_schema()
    Draft202012Validator.check_schema(schema)
    for example in schema["examples"]:
        assert Draft202012Validator(schema).is_valid(example)
        ValidateDataInput.model_validate(example)
    assert not Draft202012Validator(schema).is_valid({"data_source": [], "rules": {"a": {"minimum": 1}}})
