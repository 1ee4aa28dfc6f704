"""Inline records: the type of a column follows from its values, and nothing is lost without a note."""

import math
import random
from typing import Any

import pytest

from services.data_agent.records import MAX_COLUMNS
from services.data_agent.sources import RecordsSource


def types_of(output: dict[str, Any]) -> dict[str, str]:
    return {column["name"]: column["type"] for column in output["columns"]}


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([True, None, False], "BOOLEAN"),
        ([1, None, -5], "BIGINT"),
        ([2**63 - 1, -(2**63)], "BIGINT"),
        ([0.5, None], "DOUBLE"),
        ([1, 2.5], "DOUBLE"),
        (["a", None, ""], "VARCHAR"),
        ([{"x": [1, {"y": None}]}, None, {}], "JSON"),
        ([[1, "a"], [], None], "JSON"),
        ([{"x": 1}, 5, "text", True], "JSON"),
        ([None, None], "NULL"),
    ],
)
def test_values_come_back_as_they_went_in(run, values, type_) -> None:
    output = run("process_data", data_source=[{"v": value} for value in values])
    assert [record["v"] for record in output["records"]] == values
    assert types_of(output) == {"v": type_}
    assert output["notes"] == []


def test_whole_numbers_beside_fractions_become_doubles_and_rounding_is_noted(run) -> None:
    output = run("process_data", data_source=[{"v": 2**53 + 1}, {"v": 0.5}])
    assert output["records"] == [{"v": float(2**53)}, {"v": 0.5}]
    assert output["notes"] == ["column 'v': 1 integers over 2^53 beside fractions, rounded to doubles"]


def test_mixed_kinds_become_text_with_a_note(run) -> None:
    output = run("process_data", data_source=[{"v": 1}, {"v": "x"}, {"v": True}, {"v": 1.5}, {"v": None}])
    assert [record["v"] for record in output["records"]] == ["1", "x", "true", "1.5", None]
    assert types_of(output) == {"v": "VARCHAR"}
    assert output["notes"] == ["column 'v' mixes booleans and integers and numbers and text: read as text"]


def test_integers_beyond_64_bits_are_given_as_text_and_noted(run) -> None:
    output = run("process_data", data_source=[{"v": 2**63}, {"v": 5}])
    assert output["records"] == [{"v": str(2**63)}, {"v": 5}]
    assert types_of(output) == {"v": "HUGEINT"}
    assert output["notes"] == ["column 'v': 1 integers beyond 64 bits given as text"]


def test_integers_beyond_128_bits_are_read_as_text(run) -> None:
    output = run("process_data", data_source=[{"v": 2**127}, {"v": 5}])
    assert output["records"] == [{"v": str(2**127)}, {"v": "5"}]
    assert output["notes"] == ["column 'v' has integers over 128 bits: read as text"]


def test_nan_is_missing_and_infinity_is_not(run) -> None:
    rows = [{"v": math.nan}, {"v": math.inf}, {"v": -math.inf}, {"v": 1.5}]
    output = run("process_data", data_source=rows, operations=[{"op": "filter", "where": "v > 1 OR v IS NULL"}])
    assert output["records"] == [{"v": None}, {"v": None}, {"v": 1.5}]
    assert output["notes"] == [
        "column 'v': 1 NaN read as null",
        "column 'v': 1 NaN or infinite values given as null",
    ]


def test_nan_inside_nested_values_becomes_null(run) -> None:
    output = run("process_data", data_source=[{"v": [1, math.nan, {"w": math.inf}]}])
    assert output["records"] == [{"v": [1, None, {"w": None}]}]


def test_doubles_survive_to_the_last_bit(run) -> None:
    generator = random.Random(7)
    values = [generator.uniform(-1, 1) * 10.0 ** generator.randint(-300, 300) for _ in range(2_000)]
    values += [5e-324, 1.7976931348623157e308, 0.1, 1 / 3]
    output = run("process_data", data_source=[{"v": value} for value in values])
    assert [record["v"] for record in output["records"]] == values


def test_a_missing_key_is_null_wherever_the_key_first_appears(run) -> None:
    output = run("process_data", data_source=[{"a": 1}, {}, {"b": "x", "a": 2}])
    assert output["records"] == [{"a": 1, "b": None}, {"a": None, "b": None}, {"a": 2, "b": "x"}]
    assert [column["name"] for column in output["columns"]] == ["a", "b"]


@pytest.mark.parametrize(
    "name",
    ['we"ird', "it's", "a b", "select", "ключ", "名前", "a.b", "a;b", "--", "rowid", "row position", "%s", "{x}", "\\"],
)
def test_odd_column_names_work_in_every_operation(run, name) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    operations = [
        {"op": "filter", "where": f"{quoted} >= 1"},
        {"op": "derive", "columns": {name + "2": f"{quoted} * 2"}},
        {"op": "fill", "columns": [name], "value": 0},
        {"op": "deduplicate", "columns": [name]},
        {"op": "sort", "by": [{"column": name, "descending": True}]},
        {"op": "join", "with": [{name: 3, "other": "x"}], "on": [name], "how": "left"},
        {"op": "select", "columns": [name, name + "2", "other"]},
        {"op": "aggregate", "group_by": [name], "aggregates": {"n": {"function": "sum", "column": name + "2"}}},
    ]
    output = run("process_data", data_source=[{name: value} for value in (1, 3, 3, 0)], operations=operations)
    assert output["records"] == [{name: 1, "n": 2}, {name: 3, "n": 6}]


def test_unicode_and_control_characters_survive(run) -> None:
    values = ["naïve", "日本語", "🙂", "a\x00b", "line\nbreak", "tab\t", "'; DROP TABLE data; --", "\ufeffx", "\\u0041"]
    output = run("process_data", data_source=[{"v": value} for value in values])
    assert [record["v"] for record in output["records"]] == values


def test_half_a_surrogate_pair_is_refused(refused) -> None:
    assert refused("process_data", data_source=[{"v": "\ud800"}]).code == "InvalidText"


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([{"a": 1}, {"A": 2}], "AmbiguousColumns"),
        ([{"": 1}], "InvalidColumnName"),
        ([{"a\0b": 1}], "InvalidColumnName"),
        ([{f"c{number}": 1} for number in range(MAX_COLUMNS + 1)], "ColumnLimit"),
    ],
)
def test_columns_that_no_table_can_have_are_refused(refused, rows, code) -> None:
    assert refused("process_data", data_source=rows).code == code


def test_too_many_rows_are_refused_and_not_cut(run, config) -> None:
    limits = config.model_copy(update={"max_input_rows": 3})
    assert run("process_data", limits, data_source=[{"a": 1}] * 3)["row_count"] == 3
    with pytest.raises(Exception, match="more than 3 rows") as caught:
        run("process_data", limits, data_source=[{"a": 1}] * 4)
    assert caught.value.code == "RowLimit"


def test_no_records_and_empty_records(run) -> None:
    nothing = run("process_data", data_source=[])
    assert (nothing["records"], nothing["columns"], nothing["total_rows"]) == ([], [], 0)
    blank = run("process_data", data_source=[{}, {}], operations=[{"op": "derive", "columns": {"n": "1 + 1"}}])
    assert blank["records"] == [{"n": 2}, {"n": 2}]
    assert run("process_data", data_source=[{}])["records"] == [{}]


def test_an_earlier_output_keeps_its_types(run) -> None:
    first = run(
        "query",
        sql="""SELECT DATE '2024-02-29' AS day, TIMESTAMPTZ '2024-01-01 12:00:00+02' AS at,
               1.10::DECIMAL(20, 2) AS price,
               9223372036854775808::HUGEINT AS big, '\\xAA\\x00'::BLOB AS raw, INTERVAL '1 month 2 days' AS span,
               NULL::DOUBLE AS nothing, ['a'] AS list""",
    )
    assert first["records"] == [
        {
            "day": "2024-02-29",
            "at": "2024-01-01T10:00:00Z",
            "price": 1.1,
            "big": "9223372036854775808",
            "raw": "qgA=",
            "span": "1 month 2 days",
            "nothing": None,
            "list": ["a"],
        }
    ]
    second = run("process_data", data_source=first, operations=[{"op": "derive", "columns": {"next": "day + 1"}}])
    assert second["records"][0] == first["records"][0] | {"next": "2024-03-01"}
    kept = types_of(first) | {"list": "JSON", "next": "DATE"}
    assert types_of(second) == kept


def test_an_earlier_output_without_rows_keeps_its_columns(run) -> None:
    gone = [{"op": "filter", "where": "false"}]
    first = run("process_data", data_source=[{"a": 1, "b": "x"}], operations=gone)
    second = run("process_data", data_source=first, operations=[{"op": "filter", "where": "a > 1 AND b = 'x'"}])
    assert second["records"] == []
    assert types_of(second) == {"a": "BIGINT", "b": "VARCHAR"}


def test_a_truncated_earlier_output_says_so_again(run) -> None:
    first = run("process_data", data_source=[{"a": 1}, {"a": 2}], max_rows=1)
    assert first["truncated"] is True
    second = run("process_data", data_source=first)
    assert second["notes"] == ["the records were truncated by the step they come from, so rows are missing"]


def test_types_may_be_stated(run, refused) -> None:
    rows = [{"zip": "00123", "n": "5", "d": "2024-01-31"}, {"zip": "04567", "n": None, "d": "1999-12-31"}]
    source = {"records": rows, "types": {"n": "INTEGER", "d": "DATE"}}
    output = run("process_data", data_source=source, operations=[{"op": "sort", "by": ["d"]}])
    assert output["records"][0] == {"zip": "04567", "n": None, "d": "1999-12-31"}
    assert types_of(output) == {"zip": "VARCHAR", "n": "INTEGER", "d": "DATE"}
    error = refused("process_data", data_source={"records": [{"n": 5}, {"n": 5.5}], "types": {"n": "BIGINT"}})
    assert (error.code, error.details["row"]) == ("InvalidValue", 2)
    assert "column 'n', row 2: '5.5' is not of type BIGINT" in str(error)
    error = refused("process_data", data_source={"records": rows, "types": {"zap": "DATE"}})
    assert error.code == "UnknownColumn"
    assert "the columns are: zip, n, d" in str(error)


def test_a_type_cannot_carry_sql() -> None:
    with pytest.raises(ValueError, match="pattern"):
        RecordsSource(records=[], types={"a": "DATE); DROP TABLE data; --"})
    hostile = RecordsSource.model_validate({"records": [], "columns": [{"name": "a", "type": "INT); SELECT (1"}]})
    assert hostile.columns[0].type == "INT); SELECT (1"


def test_a_hostile_type_name_in_an_earlier_output_is_ignored(run) -> None:
    source = {"records": [{"a": 1}], "columns": [{"name": "a", "type": "VARCHAR AS x, read_text('/etc/passwd')"}]}
    output = run("process_data", data_source=source)
    assert types_of(output) == {"a": "BIGINT"}
