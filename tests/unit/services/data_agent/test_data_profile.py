"""profile: what each column holds."""

import math
import random
import statistics

import pytest


def column(output, name):
    return next(found for found in output["columns"] if found["name"] == name)


def test_numbers(run) -> None:
    values = [2, 4, 4, 4, 5, 5, 7, 9, None]
    output = run("profile", data_source=[{"v": value} for value in values])
    assert output == {
        "row_count": 9,
        "notes": [],
        "columns": [
            {
                "name": "v",
                "type": "BIGINT",
                "count": 8,
                "nulls": 1,
                "distinct": 5,
                "min": 2,
                "max": 9,
                "mean": 5.0,
                "std": pytest.approx(statistics.stdev(value for value in values if value is not None)),
                "quantiles": {"0.25": 4.0, "0.5": 4.5, "0.75": 5.5},
                "infinite": 0,
                "min_length": None,
                "max_length": None,
                "top_values": [
                    {"value": 4, "count": 3},
                    {"value": 5, "count": 2},
                    {"value": 2, "count": 1},
                    {"value": 7, "count": 1},
                    {"value": 9, "count": 1},
                ],
            }
        ],
    }


def test_figures_agree_with_the_standard_library(run) -> None:
    generator = random.Random(5)
    values = [generator.gauss(100, 15) for _ in range(5_001)]
    found = column(run("profile", data_source=[{"v": value} for value in values], quantiles=[0, 0.1, 0.9, 1]), "v")
    assert found["mean"] == pytest.approx(statistics.fmean(values), rel=1e-12)
    assert found["std"] == pytest.approx(statistics.stdev(values), rel=1e-12)
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    expected = {"0": min(values), "0.1": tenths[0], "0.9": tenths[8], "1": max(values)}
    assert found["quantiles"] == {name: pytest.approx(value, rel=1e-12) for name, value in expected.items()}


def test_text_dates_booleans_and_nested_values(run) -> None:
    rows = [
        {"t": "bb", "d": "2024-01-02", "b": True, "l": [1], "n": None},
        {"t": "é", "d": "2023-01-02", "b": False, "l": [1], "n": None},
        {"t": None, "d": None, "b": True, "l": {"a": 1}, "n": None},
    ]
    output = run("profile", data_source={"records": rows, "types": {"d": "DATE"}}, top_values=1)
    text, date, boolean = column(output, "t"), column(output, "d"), column(output, "b")
    assert (text["min"], text["max"], text["min_length"], text["max_length"]) == ("bb", "é", 1, 2)
    assert text["top_values"] == [{"value": "bb", "count": 1}]
    assert (date["min"], date["max"], date["mean"], date["quantiles"]) == ("2023-01-02", "2024-01-02", None, {})
    assert (boolean["min"], boolean["max"], boolean["distinct"]) == (False, True, 2)
    nested, nothing = column(output, "l"), column(output, "n")
    assert (nested["count"], nested["distinct"], nested["min"]) == (3, 2, None)
    assert nested["top_values"] == [{"value": [1], "count": 2}]
    assert (nothing["count"], nothing["nulls"], nothing["distinct"], nothing["top_values"]) == (0, 3, 0, [])


def test_infinities_are_counted_and_left_out_of_the_figures(run) -> None:
    rows = [{"v": 1.0}, {"v": 3.0}, {"v": math.inf}, {"v": -math.inf}, {"v": math.nan}]
    output = run("profile", data_source=rows, top_values=0)
    found = column(output, "v")
    assert (found["count"], found["nulls"], found["infinite"]) == (4, 1, 2)
    assert (found["mean"], found["quantiles"]["0.5"], found["min"], found["max"]) == (2.0, 2.0, None, None)
    assert output["notes"] == [
        "column 'v': 1 NaN read as null",
        "column 'v': 2 NaN or infinite values given as null",
    ]


def test_one_value_and_big_ones(run) -> None:
    single = column(run("profile", data_source=[{"v": 5}]), "v")
    assert (single["mean"], single["std"]) == (5.0, None)
    huge = column(run("profile", data_source=[{"v": 1e308}, {"v": -1e308}, {"v": 1e308}]), "v")
    assert huge["max"] == 1e308
    whole = column(run("profile", data_source=[{"v": 2**70}, {"v": 1}]), "v")
    assert (whole["min"], whole["max"]) == (1, str(2**70))


def test_chosen_columns_in_the_order_asked(run, refused) -> None:
    rows = [{"a": 1, "b": 2, 'c"c': 3}]
    output = run("profile", data_source=rows, columns=['c"c', "a"])
    assert [found["name"] for found in output["columns"]] == ['c"c', "a"]
    error = refused("profile", data_source=rows, columns=["nope"])
    assert error.code == "UnknownColumn"
    assert 'the columns are: a, b, c"c' in str(error)


def test_no_rows(run) -> None:
    assert run("profile", data_source=[]) == {"row_count": 0, "columns": [], "notes": []}
    (found,) = run("profile", data_source={"records": [], "types": {"v": "DOUBLE"}})["columns"]
    assert (found["count"], found["distinct"], found["mean"], found["top_values"]) == (0, 0, None, [])
