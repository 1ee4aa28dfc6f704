"""Operations of process_data: what each does to rows, in which order, and how each refuses."""

import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.data_agent.requests import ProcessDataInput

SALES: list[dict[str, Any]] = [
    {"id": 1, "city": "Oslo", "amount": 30, "day": "2024-01-03"},
    {"id": 2, "city": "Rome", "amount": None, "day": "2024-01-01"},
    {"id": 3, "city": "Oslo", "amount": 50, "day": None},
    {"id": 4, "city": None, "amount": 10, "day": "2024-01-02"},
    {"id": 5, "city": "Rome", "amount": 30, "day": "2024-01-05"},
]


@pytest.fixture
def apply(run):
    def apply_operations(*operations: dict[str, Any], data: Any = SALES) -> list[dict[str, Any]]:
        return run("process_data", data_source=data, operations=list(operations))["records"]

    return apply_operations


@pytest.fixture
def refuse(refused):
    def refuse_operations(*operations: dict[str, Any], data: Any = SALES):
        return refused("process_data", data_source=data, operations=list(operations))

    return refuse_operations


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_no_operation_gives_the_data_as_it_is(run) -> None:
    output = run("process_data", data_source=SALES)
    assert output["records"] == SALES
    assert (output["row_count"], output["total_rows"], output["truncated"]) == (5, 5, False)
    assert output["operations"] == []


def test_every_operation_reports_rows_before_and_after(run) -> None:
    operations = [
        {"op": "filter", "where": "amount >= 30"},
        {"op": "sort", "by": ["id"]},
        {"op": "limit", "count": 1},
    ]
    output = run("process_data", data_source=SALES, operations=operations)
    assert output["operations"] == [
        {"index": 0, "op": "filter", "rows_before": 5, "rows_after": 3},
        {"index": 1, "op": "sort", "rows_before": 3, "rows_after": 3},
        {"index": 2, "op": "limit", "rows_before": 3, "rows_after": 1},
    ]


class TestFilter:
    def test_true_rows_stay_and_null_ones_go(self, apply) -> None:
        assert ids(apply({"op": "filter", "where": "amount > 10"})) == [1, 3, 5]
        assert ids(apply({"op": "filter", "where": "amount <= 10 OR amount IS NULL"})) == [2, 4]

    def test_functions_lambdas_and_comments_may_be_used(self, apply) -> None:
        where = "list_contains(list_transform(['oslo'], lambda x: upper(x)), upper(city)) -- only Oslo"
        assert ids(apply({"op": "filter", "where": where})) == [1, 3]

    @pytest.mark.parametrize(
        "where",
        [
            "true) UNION SELECT 1, 'x', 2, 'y' --",
            "1) UNION SELECT (2",
            "true; DROP TABLE step_0",
            "true;",
            "true LIMIT 1",
            "true ORDER BY id",
            "true GROUP BY ALL",
            "true QUALIFY true",
            "true USING SAMPLE 1",
            "true AS x",
            "true x",
            "true, false",
            "DISTINCT true",
            "id FROM step_0",
            "id IN (SELECT 1)",
            "EXISTS (SELECT 1)",
            "(SELECT content FROM read_text('/etc/passwd')) IS NOT NULL",
            "(SELECT true)",
            "*",
            "COLUMNS(*) IS NOT NULL",
            "$1",
            "?",
            "#1 = 1",
            "/* open",
            "'open",
            "",
            " ",
            "-- nothing",
            "(" * 1500 + "true" + ")" * 1500,
            "+".join(["1"] * 1900),
        ],
    )
    def test_only_one_plain_expression_is_taken(self, run, where) -> None:
        operations = [{"op": "filter", "where": where}]
        with pytest.raises(Exception, match=r".") as caught:
            run("process_data", data_source=SALES, operations=operations)
        assert getattr(caught.value, "code", "refused by the model") in ("BadExpression", "refused by the model")
        if where:
            assert caught.value.code == "BadExpression"
            assert caught.value.details["operation"] == 0

    @pytest.mark.parametrize(
        "where",
        ["true LIMIT 1", "true AS x", "true x", "true, false", "DISTINCT true", "id FROM step_0", "true GROUP BY ALL"],
    )
    def test_what_is_more_than_an_expression_is_called_so(self, refuse, where) -> None:
        assert "it is not one plain expression" in str(refuse({"op": "filter", "where": where}))

    @pytest.mark.parametrize(
        ("where", "code", "told"),
        [
            ("amout > 1", "UnknownColumn", "there is no column 'amout'; the columns are: id, city, amount, day"),
            ("step_0 IS NULL", "UnknownColumn", "there is no column 'step_0'"),
            ("sum(amount) > 1", "BadExpression", "aggregates"),
            ("no_such(amount)", "BadExpression", "no_such"),
            ("read_text('/etc/passwd')", "BadExpression", "read_text"),
            ("city + 1 > 2", "TypeMismatch", "+(VARCHAR, INTEGER_LITERAL)"),
            ("CAST(city AS INTEGER) = 1", "InvalidValue", "Oslo"),
        ],
    )
    def test_a_bad_expression_is_told_with_its_place(self, refuse, where, code, told) -> None:
        error = refuse({"op": "limit", "count": 5}, {"op": "filter", "where": where})
        assert error.code == code
        assert str(error).startswith("operation 1 (filter): ")
        assert told in str(error)
        assert error.details == {"operation": 1, "op": "filter", "columns": ["id", "city", "amount", "day"]}


class TestSelect:
    def test_columns_in_order_exclude_and_rename(self, apply) -> None:
        assert apply({"op": "select", "columns": ["day", "id"], "rename": {"day": "date"}})[0] == {
            "date": "2024-01-03",
            "id": 1,
        }
        assert list(apply({"op": "select", "exclude": ["city", "day"]})[0]) == ["id", "amount"]

    def test_names_may_be_swapped(self, apply) -> None:
        swapped = apply({"op": "select", "columns": ["id", "amount"], "rename": {"id": "amount", "amount": "id"}})
        assert swapped[0] == {"amount": 1, "id": 30}

    @pytest.mark.parametrize(
        ("operation", "code"),
        [
            ({"columns": ["nope"]}, "UnknownColumn"),
            ({"exclude": ["nope"]}, "UnknownColumn"),
            ({"rename": {"nope": "x"}}, "UnknownColumn"),
            ({"rename": {"id": "city"}}, "DuplicateColumn"),
            ({"rename": {"id": "CITY"}}, "DuplicateColumn"),
            ({"columns": ["id", "id"]}, "DuplicateColumn"),
            ({"columns": ["id"], "exclude": ["id"]}, "NoColumns"),
        ],
    )
    def test_refusals(self, refuse, operation, code) -> None:
        assert refuse({"op": "select", **operation}).code == code


class TestDerive:
    def test_new_columns_come_last_and_replaced_ones_stay_in_place(self, apply) -> None:
        rows = apply({"op": "derive", "columns": {"double": "amount * 2", "city": "upper(city)"}})
        assert rows[0] == {"id": 1, "city": "OSLO", "amount": 30, "day": "2024-01-03", "double": 60}

    def test_every_expression_sees_the_row_as_it_was(self, apply, refuse) -> None:
        rows = apply({"op": "derive", "columns": {"amount": "amount + 1", "old": "amount"}})
        assert (rows[0]["amount"], rows[0]["old"]) == (31, 30)
        assert refuse({"op": "derive", "columns": {"a": "1", "b": "a + 1"}}).code == "UnknownColumn"

    def test_window_functions_see_rows_in_order(self, apply) -> None:
        rows = apply({"op": "derive", "columns": {"before": "lag(id) OVER ()", "n": "row_number() OVER ()"}})
        assert [(row["before"], row["n"]) for row in rows] == [(None, 1), (1, 2), (2, 3), (3, 4), (4, 5)]

    def test_a_name_that_differs_in_case_only_is_refused(self, refuse) -> None:
        assert refuse({"op": "derive", "columns": {"ID": "1"}}).code == "DuplicateColumn"


class TestAggregate:
    def test_every_function(self, apply) -> None:
        functions = ["count", "count_distinct", "sum", "mean", "median", "min", "max", "stddev", "variance"]
        measures = {name: {"function": name, "column": "amount"} for name in [*functions, "first", "last", "list"]}
        measures["rows"] = {"function": "count"}
        measures["p90"] = {"function": "quantile", "column": "amount", "quantile": 0.9}
        (row,) = apply({"op": "aggregate", "aggregates": measures})
        expected = {"count": 4, "count_distinct": 3, "sum": 120, "mean": 30.0, "median": 30.0, "min": 10, "max": 50}
        expected |= {"variance": pytest.approx(800 / 3), "stddev": pytest.approx((800 / 3) ** 0.5)}
        expected |= {"first": 30, "last": 30, "list": [30, None, 50, 10, 30], "rows": 5, "p90": pytest.approx(44)}
        assert row == expected

    def test_booleans(self, apply) -> None:
        measures = {name: {"function": name, "column": "flag"} for name in ("any", "all")}
        data = [{"flag": True}, {"flag": None}, {"flag": False}]
        assert apply({"op": "aggregate", "aggregates": measures}, data=data) == [{"any": True, "all": False}]

    def test_groups_come_in_their_own_order_whatever_the_rows_order(self, apply) -> None:
        operation = {"op": "aggregate", "group_by": ["city"], "aggregates": {"n": {"function": "count"}}}
        expected = [{"city": "Oslo", "n": 2}, {"city": "Rome", "n": 2}, {"city": None, "n": 1}]
        assert apply(operation) == apply(operation, data=SALES[::-1]) == expected

    def test_no_rows(self, apply) -> None:
        gone = {"op": "filter", "where": "false"}
        measures = {"n": {"function": "count"}, "s": {"function": "sum", "column": "amount"}}
        assert apply(gone, {"op": "aggregate", "aggregates": measures}) == [{"n": 0, "s": None}]
        assert apply(gone, {"op": "aggregate", "group_by": ["city"], "aggregates": measures}) == []

    def test_sums_leave_64_bits_without_being_wrong(self, run) -> None:
        operations = [{"op": "aggregate", "aggregates": {"s": {"function": "sum", "column": "v"}}}]
        output = run("process_data", data_source=[{"v": 2**63 - 1}] * 3, operations=operations)
        assert output["records"] == [{"s": str(3 * (2**63 - 1))}]

    @pytest.mark.parametrize(
        ("operation", "code"),
        [
            ({"group_by": ["nope"], "aggregates": {"n": {"function": "count"}}}, "UnknownColumn"),
            ({"aggregates": {"n": {"function": "sum", "column": "nope"}}}, "UnknownColumn"),
            ({"aggregates": {"n": {"function": "sum", "column": "city"}}}, "TypeMismatch"),
            ({"group_by": ["city"], "aggregates": {"CITY": {"function": "count"}}}, "DuplicateColumn"),
        ],
    )
    def test_refusals(self, refuse, operation, code) -> None:
        assert refuse({"op": "aggregate", **operation}).code == code


class TestJoin:
    REGIONS = (
        {"city": "Oslo", "region": "N", "id": 9},
        {"city": "Oslo", "region": "M", "id": 8},
        {"city": "Bern", "region": "S", "id": 7},
    )
    ONE = ((1, "Oslo", "N", 9), (1, "Oslo", "M", 8))
    THREE = ((3, "Oslo", "N", 9), (3, "Oslo", "M", 8))
    UNMATCHED = ((2, "Rome", None, None), (4, None, None, None), (5, "Rome", None, None))
    BERN = (None, "Bern", "S", 7)

    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ("inner", [*ONE, *THREE]),
            ("left", [*ONE, UNMATCHED[0], *THREE, *UNMATCHED[1:]]),
            ("right", [*ONE, *THREE, BERN]),
            ("full", [*ONE, UNMATCHED[0], *THREE, *UNMATCHED[1:], BERN]),
        ],
    )
    def test_kinds_and_order(self, apply, how, expected) -> None:
        rows = apply({"op": "join", "with": list(self.REGIONS), "on": ["city"], "how": how})
        assert list(rows[0]) == ["id", "city", "amount", "day", "region", "id_right"]
        assert [(row["id"], row["city"], row["region"], row["id_right"]) for row in rows] == expected

    def test_semi_and_anti_keep_the_columns(self, apply) -> None:
        assert ids(apply({"op": "join", "with": list(self.REGIONS), "on": ["city"], "how": "semi"})) == [1, 3]
        assert ids(apply({"op": "join", "with": list(self.REGIONS), "on": ["city"], "how": "anti"})) == [2, 4, 5]

    def test_keys_of_different_names_and_a_source_from_a_file(self, apply, folder) -> None:
        (folder / "towns.csv").write_text("town,country\nOslo,NO\nRome,IT\n")
        join = {"op": "join", "with": "towns", "on": {"city": "town"}, "how": "left"}
        assert [row["country"] for row in apply(join)] == ["NO", "IT", "NO", None, "IT"]

    def test_nulls_equal_nothing(self, apply) -> None:
        join = {"op": "join", "with": [{"city": None, "x": 1}, {"city": "Oslo", "x": 2}], "on": ["city"]}
        assert [(row["id"], row["x"]) for row in apply(join)] == [(1, 2), (3, 2)]

    @pytest.mark.parametrize(
        ("join", "code", "told"),
        [
            ({"with": [{"a": 1}], "on": ["nope"]}, "UnknownColumn", "the columns are: id, city, amount, day"),
            ({"with": [{"a": 1}], "on": ["id"]}, "UnknownColumn", "'with' has no column 'id'; it has: a"),
            (
                {"with": [{"id": "1"}], "on": ["id"]},
                "TypeMismatch",
                "column 'id' is BIGINT and 'id' of 'with' is VARCHAR",
            ),
            (
                {"with": "nowhere", "on": ["id"]},
                "SourceNotFound",
                "operation 0 (join): there is no data file 'nowhere'",
            ),
            (
                {"with": [{"id": 1, "Amount_x": 1, "amount": 2}], "on": ["id"], "suffix": "_x"},
                "DuplicateColumn",
                "amount_x",
            ),
        ],
    )
    def test_refusals(self, refuse, join, code, told) -> None:
        error = refuse({"op": "join", **join})
        assert error.code == code
        assert told.lower() in str(error).lower()

    def test_a_join_that_multiplies_rows_over_the_limit_is_refused(self, refuse) -> None:
        many = [{"k": 1}] * 500
        error = refuse({"op": "join", "with": many, "on": ["k"]}, data=many)
        assert error.code == "RowLimit"


class TestOrderLimitDeduplicate:
    def test_sorting_is_stable_and_nulls_come_last(self, apply) -> None:
        assert ids(apply({"op": "sort", "by": ["amount"]})) == [4, 1, 5, 3, 2]
        assert ids(apply({"op": "sort", "by": [{"column": "amount", "descending": True}]})) == [3, 1, 5, 4, 2]
        by = ["city", {"column": "amount", "nulls": "first"}]
        assert ids(apply({"op": "sort", "by": by})) == [1, 3, 2, 5, 4]

    def test_text_is_sorted_by_code_point(self, apply) -> None:
        data = [{"t": text} for text in ("é", "z", "Z", "a", "")]
        assert [row["t"] for row in apply({"op": "sort", "by": ["t"]}, data=data)] == ["", "Z", "a", "z", "é"]

    def test_many_rows_keep_their_order_through_every_operation(self, apply) -> None:
        generator = random.Random(3)
        data = [{"n": number, "k": generator.randint(0, 9)} for number in range(10_000)]
        rows = apply(
            {"op": "derive", "columns": {"m": "n * 2"}},
            {"op": "filter", "where": "k < 5"},
            {"op": "fill", "columns": ["k"], "value": 0},
            {"op": "join", "with": [{"k": k, "w": -k} for k in range(10)], "on": ["k"]},
            {"op": "sort", "by": ["k"]},
            data=data,
        )
        expected = sorted((row for row in data if row["k"] < 5), key=lambda row: row["k"])
        assert [(row["n"], row["w"]) for row in rows] == [(row["n"], -row["k"]) for row in expected]

    def test_limit_and_offset(self, apply) -> None:
        assert ids(apply({"op": "limit", "count": 2, "offset": 1})) == [2, 3]
        assert apply({"op": "limit", "count": 0}) == []
        assert ids(apply({"op": "limit", "count": 9, "offset": 4})) == [5]

    def test_deduplicate(self, apply) -> None:
        assert ids(apply({"op": "deduplicate", "columns": ["city"]})) == [1, 2, 4]
        assert ids(apply({"op": "deduplicate", "columns": ["city"], "keep": "last"})) == [3, 4, 5]
        data = [{"a": 1, "b": None}, {"a": 1, "b": None}, {"a": 1, "b": [1]}, {"a": 1, "b": [1]}]
        assert apply({"op": "deduplicate"}, data=data) == [{"a": 1, "b": None}, {"a": 1, "b": [1]}]


class TestFill:
    @pytest.mark.parametrize(
        ("fill", "filled"),
        [
            ({"value": 0}, 0),
            ({"value": 0.5}, 0.5),
            ({"method": "mean"}, 30.0),
            ({"method": "median"}, 30.0),
            ({"method": "min"}, 10),
            ({"method": "max"}, 50),
            ({"method": "previous"}, 30),
            ({"method": "next"}, 50),
            ({"method": "previous", "within": ["city"]}, None),
            ({"method": "next", "within": ["city"]}, 30),
            ({"method": "mean", "within": ["city"]}, 30.0),
        ],
    )
    def test_methods(self, apply, fill, filled) -> None:
        rows = apply({"op": "fill", "columns": ["amount"], **fill})
        assert [row["amount"] for row in rows] == [30, filled, 50, 10, 30]

    def test_values_of_other_kinds(self, apply) -> None:
        typed = {"records": SALES, "types": {"day": "DATE"}}
        rows = apply({"op": "fill", "columns": ["day"], "value": "2020-01-01"}, data=typed)
        assert rows[2]["day"] == "2020-01-01"
        assert apply({"op": "fill", "columns": ["a"], "value": False}, data=[{"a": None}, {"a": True}])[0]["a"] is False
        assert apply({"op": "fill", "columns": ["a"], "value": "x"}, data=[{"a": None}]) == [{"a": "x"}]

    @pytest.mark.parametrize(("column", "value"), [("city", 5), ("amount", "many"), ("amount", True), ("city", True)])
    def test_a_value_that_does_not_fit_is_refused(self, refuse, column, value) -> None:
        error = refuse({"op": "fill", "columns": [column], "value": value})
        assert error.code == "TypeMismatch"
        assert f"column '{column}' is" in str(error)

    def test_text_that_is_no_date_is_refused(self, refuse) -> None:
        typed = {"records": SALES, "types": {"day": "DATE"}}
        assert refuse({"op": "fill", "columns": ["day"], "value": "soon"}, data=typed).code == "InvalidValue"


def test_a_truncated_answer_says_so(run, config) -> None:
    data = [{"n": number} for number in range(50)]
    output = run("process_data", data_source=data, max_rows=3)
    assert output["records"] == data[:3]
    assert (output["row_count"], output["total_rows"], output["truncated"]) == (3, 50, True)
    assert output["notes"] == ["only the first 3 rows are given: more would exceed the limit of rows or bytes"]
    exact = run("process_data", data_source=data, max_rows=50)
    assert (exact["row_count"], exact["truncated"]) == (50, False)
    capped = run("process_data", config.model_copy(update={"max_output_rows": 10}), data_source=data, max_rows=40)
    assert capped["row_count"] == 10


def test_an_answer_is_limited_in_bytes(run, config) -> None:
    limits = config.model_copy(update={"max_output_bytes": 10_000})
    output = run("process_data", limits, data_source=[{"t": "é" * 1_000}] * 20)
    assert (output["row_count"], output["total_rows"], output["truncated"]) == (4, 20, True)
    with pytest.raises(Exception, match="one row alone") as caught:
        run("process_data", limits, data_source=[{"t": "x" * 20_000}])
    assert caught.value.code == "OutputTooLarge"


def test_the_same_request_gives_the_same_answer(run) -> None:
    generator = random.Random(1)
    data = [{"k": generator.randint(0, 50), "v": generator.random()} for _ in range(5_000)]
    measures = {"s": {"function": "sum", "column": "v"}, "m": {"function": "mean", "column": "v"}}
    request = {"data_source": data, "operations": [{"op": "aggregate", "group_by": ["k"], "aggregates": measures}]}
    answers = [run("process_data", **request) for _ in range(5)]
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "filtre", "where": "true"},
        {"op": "filter"},
        {"op": "filter", "where": "true", "column": "x"},
        {"op": "limit", "count": -1},
        {"op": "sort", "by": []},
        {"op": "derive", "columns": {}},
        {"op": "aggregate", "aggregates": {}},
        {"op": "aggregate", "aggregates": {"n": {"function": "sum"}}},
        {"op": "aggregate", "aggregates": {"n": {"function": "quantile", "column": "a"}}},
        {"op": "aggregate", "aggregates": {"n": {"function": "sum", "column": "a", "quantile": 0.5}}},
        {"op": "join", "with": "x"},
        {"op": "join", "with": "x", "on": []},
        {"op": "fill", "columns": ["a"]},
        {"op": "fill", "columns": ["a"], "method": "mean", "value": 1},
    ],
)
def test_malformed_operations_are_refused(operation) -> None:
    with pytest.raises(ValueError, match="operations"):
        ProcessDataInput.model_validate({"data_source": [], "operations": [operation]})


def test_the_json_schema_describes_every_operation() -> None:
    schema = ProcessDataInput.model_json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for example in schema["examples"]:
        assert validator.is_valid(example)
        ProcessDataInput.model_validate(example)
    named = schema["properties"]["operations"]["items"]["discriminator"]["mapping"]
    assert sorted(named) == sorted(
        ["filter", "select", "derive", "aggregate", "join", "sort", "limit", "deduplicate", "fill"]
    )
    assert validator.is_valid({"data_source": [], "operations": [{"op": "join", "with": "x", "on": ["a"]}]})
    assert not validator.is_valid({"data_source": [], "operations": [{"op": "filtre", "where": "x"}]})
    assert not validator.is_valid({"data_source": [], "operations": [{"op": "filter", "where": "x", "y": 1}]})
