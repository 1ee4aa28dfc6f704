"""The query action: one SELECT over named tables."""

import pytest

from services.data_agent.requests import QueryInput

ROWS = [{"id": 1, "g": "a", "x": 3}, {"id": 2, "g": "b", "x": None}, {"id": 3, "g": "a", "x": 5}]


def test_a_select_over_the_data(run) -> None:
    output = run("query", sql="SELECT g, sum(x) AS s FROM data GROUP BY g ORDER BY g DESC", data_source=ROWS)
    assert output == {
        "records": [{"g": "b", "s": None}, {"g": "a", "s": 8}],
        "columns": [{"name": "g", "type": "VARCHAR"}, {"name": "s", "type": "HUGEINT"}],
        "row_count": 2,
        "truncated": False,
        "notes": [],
    }


def test_several_tables_inline_and_from_files(run, folder) -> None:
    (folder / "names.csv").write_text("g,name\na,Alpha\nb,Beta\n")
    sql = "SELECT id, name FROM data JOIN n USING (g) LEFT JOIN extra USING (id) WHERE bonus IS NULL ORDER BY id"
    output = run("query", sql=sql, data_source=ROWS, tables={"n": "names", "extra": [{"id": 1, "bonus": 1}]})
    assert output["records"] == [{"id": 2, "name": "Beta"}, {"id": 3, "name": "Alpha"}]


def test_parameters_by_place_and_by_name(run, refused) -> None:
    places = run("query", sql="SELECT id FROM data WHERE g = $1 AND x > $2", data_source=ROWS, parameters=["a", 3])
    assert places["records"] == [{"id": 3}]
    hostile = "a' OR '1' = '1"
    named = run("query", sql="SELECT $g AS g FROM data WHERE g = $g", data_source=ROWS, parameters={"g": hostile})
    assert named["records"] == []
    lists = run(
        "query", sql="SELECT id FROM data WHERE id IN (SELECT unnest($1))", data_source=ROWS, parameters=[[1, 3]]
    )
    assert [row["id"] for row in lists["records"]] == [1, 3]
    assert refused("query", sql="SELECT $1 + $2", parameters=[1]).code == "BadSql"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS n;",
        "SELECT 1 AS n ; ; -- the end;",
        "/* né; */ SELECT 1 AS n; /* ; */",
        "WITH x AS (SELECT 1 AS n) SELECT * FROM x -- no semicolon",
        "VALUES (1)",
        "FROM (SELECT 1 AS n)",
        "SELECT 1 AS n WHERE ';' <> '--'",
    ],
)
def test_the_ways_to_write_one_select(run, sql) -> None:
    output = run("query", sql=sql)
    assert [list(row.values()) for row in output["records"]] == [[1]]


def test_describing_statements_are_selects_to_duckdb(run) -> None:
    described = run("query", sql="DESCRIBE data", data_source=ROWS)
    assert [row["column_name"] for row in described["records"]] == ["id", "g", "x"]
    assert run("query", sql="SUMMARIZE data", data_source=ROWS)["row_count"] == 3
    pivot = run("query", sql="PIVOT data ON g IN ('a', 'b') USING count(*) GROUP BY id ORDER BY id", data_source=ROWS)
    assert pivot["records"][0] == {"id": 1, "a": 1, "b": 0}


def test_the_order_of_the_select_is_kept_over_many_rows(run, config) -> None:
    limits = config.model_copy(update={"max_output_rows": 100_000})
    sql = "SELECT (n * 7919) % 100003 AS v, DATE '2024-01-01' AS d FROM range(50000) AS r(n) ORDER BY v DESC"
    values = [row["v"] for row in run("query", limits, sql=sql)["records"]]
    assert len(values) == 50_000
    assert values == sorted(values, reverse=True)


def test_repeated_column_names_are_numbered(run) -> None:
    output = run("query", sql="SELECT id, id, x AS id FROM data LIMIT 1", data_source=ROWS)
    assert output["records"] == [{"id": 1, "id_1": 1, "id_2": 3}]


def test_rows_over_the_limit_are_left_out_without_being_computed(run) -> None:
    output = run("query", sql="SELECT n FROM range(1000000000000) AS t(n)", max_rows=3)
    assert output["records"] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert output["truncated"] is True
    exact = run("query", sql="SELECT n FROM range(3) AS t(n)", max_rows=3)
    assert (exact["row_count"], exact["truncated"]) == (3, False)


@pytest.mark.parametrize(
    ("sql", "code", "told"),
    [
        ("SELECT nope FROM data", "UnknownColumn", "there is no column 'nope'; the tables are: data (id, g, x)"),
        ("SELECT * FROM daten", "UnknownTable", "there is no table 'daten'; the tables are: data (id, g, x)"),
        ("SELEC 1", "BadSql", 'syntax error at or near "SELEC"'),
        ("SELECT g + 1 FROM data", "TypeMismatch", "+(VARCHAR, INTEGER_LITERAL)"),
        ("SELECT g::INTEGER FROM data", "InvalidValue", "Could not convert string 'a'"),
        ("SELECT 9223372036854775807 + 1", "InvalidValue", "Overflow"),
        ("SELECT error('stop here')", "BadSql", "stop here"),
        ('SELECT 1 AS "a\0b"', "InvalidColumnName", "a\\x00b"),
    ],
)
def test_refusals_say_what_is_wrong(refused, sql, code, told) -> None:
    error = refused("query", sql=sql, data_source=ROWS)
    assert error.code == code
    assert told in str(error)
    assert error.retryable is False


def test_a_failure_half_way_through_the_rows_is_told(refused) -> None:
    sql = "SELECT CASE WHEN n = 5000 THEN error('row 5000') ELSE n END AS n FROM range(9000) AS t(n)"
    assert "row 5000" in str(refused("query", sql=sql))


def test_infinite_quotients_are_null_with_a_note(run) -> None:
    output = run("query", sql="SELECT 1 / 0 AS a, 'nan'::DOUBLE AS b, 1 AS c")
    assert output["records"] == [{"a": None, "b": None, "c": 1}]
    assert output["notes"] == [
        "column 'a': 1 NaN or infinite values given as null",
        "column 'b': 1 NaN or infinite values given as null",
    ]


@pytest.mark.parametrize(
    "request_",
    [
        {"sql": ""},
        {"sql": "SELECT 1" + " " * 20_000},
        {"sql": "SELECT 1", "tables": {"bad name": []}},
        {"sql": "SELECT 1", "tables": {"x; DROP": []}},
        {"sql": "SELECT 1", "tables": {"Data": []}, "data_source": []},
        {"sql": "SELECT 1", "timeout_seconds": 0},
        {"sql": "SELECT 1", "max_rows": 0},
        {"sql": "SELECT 1", "limit": 5},
    ],
)
def test_malformed_requests_are_refused(request_) -> None:
    with pytest.raises(ValueError, match="QueryInput"):
        QueryInput.model_validate(request_)
