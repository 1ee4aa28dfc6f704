"""How alternatives are found and named."""

import pytest

from services.decision_agent.options import Notes
from services.decision_agent.records import read_alternatives


def names(rows, wanted=None):
    notes = Notes()
    found = read_alternatives(rows, wanted, notes)
    return list(found.labels), notes.conventions["alternatives_named_by"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"Label": ["a", "b"], "name": ["x", "y"], "id": [1, 2]}, (["a", "b"], "column 'Label'")),
        ({"id": [1, 2], "name": ["x", "y"]}, (["x", "y"], "column 'name'")),
        ({"town": ["p", "q"], "id": [1, 2]}, (["1", "2"], "column 'id'")),
        ({"kind": ["s", "s"], "town": ["p", "q"]}, (["p", "q"], "column 'town'")),
        ({"name": ["x", "x"], "id": [1, 2]}, (["1", "2"], "column 'id'")),
        ({"name": ["x", None], "size": [1, 2]}, (["row 1", "row 2"], "row number")),
        ({"size": [1, 2]}, (["row 1", "row 2"], "row number")),
    ],
)
def test_the_naming_column(columns, expected):
    rows = [{name: values[i] for name, values in columns.items()} for i in range(2)]
    assert names(rows) == expected


def test_the_column_asked_for_names_them():
    assert names([{"name": "x", "code": 7}, {"name": "y", "code": 8}], "code") == (["7", "8"], "column 'code'")


def test_a_bad_naming_column_is_refused(refusal):
    rows = [{"a": "x", "b": "p", "n": 1}, {"a": "x", "b": None, "n": 2}, {"a": "y", "b": "q", "n": 3}]
    assert refusal(data=rows, alternatives="a").code == "DuplicateAlternatives"
    assert "'x'" in str(refusal(data=rows, alternatives="a"))
    assert refusal(data=rows, alternatives="b").code == "MissingValues"
    assert "row 2" in str(refusal(data=rows, alternatives="b"))
    assert refusal(data=rows, alternatives="z").code == "UnknownColumn"


def test_columns_of_later_records_count():
    found = read_alternatives([{"a": 1}, {"a": 2, "b": 3}], None, Notes())
    assert found.columns == ("a", "b")
    assert found.values("b") == [None, 3]


def test_nan_counts_as_missing():
    found = read_alternatives([{"a": float("nan")}, {"a": 2.0}], None, Notes())
    assert found.values("a") == [None, 2.0]


def test_too_many_records_are_refused(refusal):
    assert refusal(data=[{"x": i} for i in range(20_001)]).code == "TooManyAlternatives"


def test_long_numbers_that_came_as_text_count_as_numbers(decide):
    data = {
        "records": [{"name": "A", "x": "12345678901234567890.5", "t": "1"}, {"name": "B", "x": 7, "t": "2"}],
        "columns": [{"name": "name", "type": "VARCHAR"}, {"name": "x", "type": "DECIMAL(38,1)"}, {"name": "t"}],
    }
    answer = decide(data=data)
    assert answer["winner"] == "A"
    assert list(answer["weights"]) == ["x"]
    assert "'x': numbers too long for JSON are compared as floats, to about 16 digits" in answer["warnings"]


def test_data_that_was_cut_off_is_warned_of(decide):
    data = {"records": [{"x": 1}, {"x": 2}], "truncated": True, "total_rows": 500}
    assert (
        "the data was cut off where it comes from: only 2 of 500 records were compared" in decide(data=data)["warnings"]
    )
    assert not [w for w in decide(data=data | {"truncated": False})["warnings"] if "cut off" in w]
