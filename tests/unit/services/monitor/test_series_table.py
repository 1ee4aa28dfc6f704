"""The flat table of totals: rows, their places, and what becomes of places that are free."""

from array import array

from services.monitor.series_table import Metric, SeriesTable

COUNTER = Metric("c_total", ("kind",), None)
HISTOGRAM = Metric("h_seconds", (), (1.0, 2.0))


def test_rows_are_added_to_where_they_stand() -> None:
    table = SeriesTable(most=100)
    one, other = table.new_row(COUNTER, ("a",), 0.0), table.new_row(HISTOGRAM, (), 0.0)
    assert one is not None
    assert other is not None
    table.add(other, (1, 2, 3, 4.5), 7.0)
    table.add(one, (5,), 8.0)
    table.add(other, (1, 0, 0, 0.5), 9.0)
    assert list(table.totals) == [5, 2, 2, 3, 5.0]
    assert (one.changed_at, other.changed_at) == (8.0, 9.0)
    assert table.rows_of(COUNTER) == {("a",): one}
    assert list(table.named("h_seconds")) == [other]
    assert (list(table.named("nothing")), dict(table.rows_of(Metric("c_total", (), None)))) == ([], {})


def test_there_is_room_for_so_many_figures_and_no_more() -> None:
    table = SeriesTable(most=5)
    assert table.new_row(HISTOGRAM, (), 0.0) is not None
    assert table.new_row(HISTOGRAM, ("too wide",), 0.0) is None
    assert table.new_row(COUNTER, ("a",), 0.0) is not None
    assert table.new_row(COUNTER, ("b",), 0.0) is None
    assert len(table) == 2


def test_the_place_of_a_dropped_row_is_zero_everywhere_and_taken_again() -> None:
    table = SeriesTable(most=2)
    gone, stays = table.new_row(COUNTER, ("gone",), 0.0), table.new_row(COUNTER, ("stays",), 0.0)
    assert gone is not None
    assert stays is not None
    table.add(gone, (3,), 1.0)
    table.add(stays, (4,), 1.0)
    early, late = array("d"), table.totals[:]
    table.drop(gone, [early, late])
    assert (list(table.totals), list(early), list(late)) == ([0, 4], [], [0, 4])
    again = table.new_row(COUNTER, ("again",), 2.0)
    assert again is not None
    assert again.offset == gone.offset
    assert set(table.named("c_total")) == {stays, again}


def test_a_metric_without_rows_is_no_more() -> None:
    table = SeriesTable(most=9)
    row = table.new_row(HISTOGRAM, (), 0.0)
    assert row is not None
    table.drop(row, [])
    assert (len(table), list(table.named("h_seconds")), table.rows_of(HISTOGRAM)) == (0, [], {})
