"""Text that goes into PostgreSQL's columns, and batches that are too large for one statement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.store.base import BadCursor, Page
from services.runtime.store.cursor import Cursor
from services.runtime.store.postgres_statements import brief, in_parts, packed, page_of_headers, unpacked

MEGABYTE = 1024 * 1024
hard_text = st.text(alphabet="\\\0" + "0a")


@given(first=hard_text, second=hard_text)
def test_text_comes_back_and_different_texts_stay_different(first: str, second: str) -> None:
    assert unpacked(packed(first)) == first
    assert "\0" not in packed(first)
    assert (packed(first) == packed(second)) == (first == second)


def test_usual_text_is_stored_as_it_is() -> None:
    assert packed("run-1.é/$'\"") == "run-1.é/$'\""


@given(first=st.text(max_size=800), second=st.text(max_size=800), repeated=st.integers(1, 40))
def test_brief_text_fits_an_index_and_different_texts_stay_different(first: str, second: str, repeated: int) -> None:
    longer, other = first * repeated, second * repeated
    assert len(packed(brief(longer)).encode()) < 2_000
    assert (brief(longer) == brief(other)) == (longer == other)
    assert brief(brief(longer)) != brief(longer) or len(longer) <= 300


def test_text_of_usual_length_is_brief_already() -> None:
    assert brief("é" * 300) == "é" * 300
    assert brief("é" * 301).startswith("é" * 300 + ":")


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([0, 0], [2]),
        ([1] * 500, [500]),
        ([16 * MEGABYTE, 16 * MEGABYTE], [2]),
        ([16 * MEGABYTE, 16 * MEGABYTE, 1], [2, 1]),
        ([40 * MEGABYTE, 1, 40 * MEGABYTE], [1, 1, 1]),
        ([40 * MEGABYTE], [1]),
    ],
)
def test_rows_go_in_parts_of_32_megabytes_or_of_one_row(sizes: list[int], parts: list[int]) -> None:
    rows = list(range(len(sizes)))
    found = list(in_parts(rows, sizes))
    assert [len(part) for part in found] == parts
    assert [row for part in found for row in part] == rows


def test_only_what_is_asked_for_is_a_condition() -> None:
    statement, values = page_of_headers({"status": None, "workflow_name": "n"}, Page(5), "executions")
    assert statement.endswith("WHERE workflow_name = $1 ORDER BY started_at DESC, execution_id DESC LIMIT $2")
    assert values == ["n", 6]


def test_a_page_goes_on_beyond_its_cursor_in_the_order_of_the_list() -> None:
    page = Page(5, Cursor("open executions", 2.0, "x").encode())
    statement, values = page_of_headers({"status": "running"}, page, "open executions", latest_first=False)
    assert "(started_at, execution_id) > ($2, $3) ORDER BY started_at ASC, execution_id ASC" in statement
    assert values == ["running", 2.0, "x", 6]
    with pytest.raises(BadCursor):
        page_of_headers({}, page, "executions")
