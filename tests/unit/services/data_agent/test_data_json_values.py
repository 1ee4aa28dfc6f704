"""Values of every DuckDB type as JSON."""

import pytest

from services.data_agent.querying import query
from services.data_agent.requests import QueryInput
from services.data_agent.sandbox import Sandbox

INT64 = 2**63


@pytest.mark.parametrize(
    ("sql", "type_", "value"),
    [
        ("NULL", "NULL", None),
        ("true", "BOOLEAN", True),
        ("-5::TINYINT", "TINYINT", -5),
        (f"{INT64 - 1}", "BIGINT", INT64 - 1),
        ("18446744073709551615::UBIGINT", "UBIGINT", "18446744073709551615"),
        ("5::HUGEINT", "HUGEINT", 5),
        ("170141183460469231731687303715884105727::HUGEINT", "HUGEINT", "170141183460469231731687303715884105727"),
        ("1.10::DECIMAL(18, 3)", "DECIMAL(18,3)", 1.1),
        ("12345678901234567.891::DECIMAL(30, 3)", "DECIMAL(30,3)", "12345678901234567.891"),
        ("0.1::DOUBLE", "DOUBLE", 0.1),
        ("1.5::FLOAT", "FLOAT", 1.5),
        ("'-inf'::DOUBLE", "DOUBLE", None),
        ("'text'", "VARCHAR", "text"),
        ("DATE '2024-02-29'", "DATE", "2024-02-29"),
        ("DATE '10000-01-01'", "DATE", "10000-01-01"),
        ("DATE '0044-03-15 (BC)'", "DATE", "0044-03-15 (BC)"),
        ("'infinity'::DATE", "DATE", "infinity"),
        ("TIMESTAMP '2024-01-01 10:00:00.5'", "TIMESTAMP", "2024-01-01T10:00:00.5"),
        ("TIMESTAMP_NS '2024-01-01 10:00:00.123456789'", "TIMESTAMP_NS", "2024-01-01T10:00:00.123456789"),
        ("'-infinity'::TIMESTAMP", "TIMESTAMP", "-infinity"),
        ("TIMESTAMPTZ '2024-07-01 12:00:00+02'", "TIMESTAMP WITH TIME ZONE", "2024-07-01T10:00:00Z"),
        ("TIMESTAMPTZ '2024-07-01 12:00:00 America/New_York'", "TIMESTAMP WITH TIME ZONE", "2024-07-01T16:00:00Z"),
        ("TIME '12:00:00.25'", "TIME", "12:00:00.25"),
        ("TIMETZ '12:00:00+02'", "TIME WITH TIME ZONE", "12:00:00+02"),
        ("INTERVAL '1 month 2 days 3 hours'", "INTERVAL", "1 month 2 days 03:00:00"),
        ("UUID '00000000-0000-0000-0000-000000000001'", "UUID", "00000000-0000-0000-0000-000000000001"),
        ("'\\xAA\\x00'::BLOB", "BLOB", "qgA="),
        ("'101'::BIT", "BIT", "101"),
        ("'a'::ENUM('a', 'b')", "ENUM('a', 'b')", "a"),
        ("[1, NULL]", "INTEGER[]", [1, None]),
        ("[DATE '2024-01-01', NULL]", "DATE[]", ["2024-01-01", None]),
        ("[TIMESTAMP '2024-01-01 10:00:00']::TIMESTAMP[1]", "TIMESTAMP[1]", ["2024-01-01T10:00:00"]),
        ("{'a': 1, 'b': NULL}", 'STRUCT(a INTEGER, b "NULL")', {"a": 1, "b": None}),
        (
            "{'a': 1.5, 'it''s \"odd\"': [{'t': TIMESTAMPTZ '2024-01-01 10:00:00+00'}]}",
            'STRUCT(a DECIMAL(2,1), "it\'s ""odd""" STRUCT(t TIMESTAMP WITH TIME ZONE)[])',
            {"a": 1.5, 'it\'s "odd"': [{"t": "2024-01-01T10:00:00Z"}]},
        ),
        ("[{'v': 9223372036854775808::HUGEINT}]", "STRUCT(v HUGEINT)[]", [{"v": "9223372036854775808"}]),
        ("MAP {1: DATE '2024-01-01'}", "MAP(INTEGER, DATE)", {"1": "2024-01-01"}),
        ("union_value(k := 5)", "UNION(k INTEGER)", {"k": 5}),
        ("row(1, 'x')", "TUPLE(INTEGER, VARCHAR)", [1, "x"]),
        ("{'a': [1, DATE '2024-01-01'::VARIANT]}::VARIANT", "VARIANT", {"a": [1, "2024-01-01"]}),
        (
            '\'{"a": [1, 2.5, null, "x", 18446744073709551616]}\'::JSON',
            "JSON",
            {"a": [1, 2.5, None, "x", "18446744073709551616"]},
        ),
        ("'null'::JSON", "JSON", None),
        ("[NULL]", '"NULL"[]', [None]),
    ],
)
def test_a_value_travels(run, sql, type_, value) -> None:
    output = run("query", sql=f"SELECT {sql} AS v UNION ALL SELECT NULL")
    assert output["records"] == [{"v": value}, {"v": None}]
    assert output["columns"] == [{"name": "v", "type": type_}]


def test_what_is_given_otherwise_is_counted_by_column(run) -> None:
    output = run(
        "query",
        sql="SELECT 9223372036854775808 AS a, ['nan'::DOUBLE, 1, 'inf'] AS b, 0.1234567890123456789 AS c FROM range(2)",
    )
    assert output["notes"] == [
        "column 'a': 2 integers beyond 64 bits given as text",
        "column 'b': 4 NaN or infinite values given as null",
        "column 'c': 2 decimals with more digits than a JSON number keeps given as text",
    ]


@pytest.mark.parametrize("sql", ["[" * 70 + "1" + "]" * 70, "('" + "[" * 70 + "]" * 70 + "')::JSON"])
def test_what_the_store_could_not_hold_is_refused(refused, sql) -> None:
    error = refused("query", sql=f"SELECT {sql} AS v")
    assert error.code == "NestedTooDeep"
    assert "column 'v'" in str(error)


def test_the_machine_s_time_zone_changes_nothing(config, monkeypatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    box = Sandbox(config)
    request = QueryInput(sql="SELECT '2024-01-01 10:00:00'::TIMESTAMPTZ AS t")
    assert query(request, config, box).records == [{"t": "2024-01-01T10:00:00Z"}]
    box.close()
