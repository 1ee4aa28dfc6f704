"""Where a page of dead letters ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.store.cursor import Cursor, decode_cursor
from services.runtime.store.letter_pages import KIND, MAX_PAGE_BYTES, Place, fitting

MEGABYTE = 1024 * 1024
FOLLOWING = Cursor(KIND, 0.5, "next").encode()


def places(*sizes: int) -> list[Place]:
    return [Place(f"x{i}", 100.0 - i, size) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("following", [None, FOLLOWING])
@pytest.mark.parametrize("sizes", [[], [1] * 1000, [16 * MEGABYTE, 16 * MEGABYTE], [40 * MEGABYTE]])
def test_a_page_that_fits_is_whole_and_goes_on_where_it_would(sizes: list[int], following: str | None) -> None:
    assert fitting(places(*sizes), following) == ([f"x{i}" for i in range(len(sizes))], following)


@pytest.mark.parametrize(
    ("sizes", "fit"),
    [
        ([16 * MEGABYTE, 16 * MEGABYTE, 1], 2),
        ([40 * MEGABYTE, 1], 1),
        ([1, 40 * MEGABYTE, 1], 1),
        ([MEGABYTE] * 100, 32),
    ],
)
@pytest.mark.parametrize("following", [None, FOLLOWING])
def test_a_page_ends_before_the_letter_that_is_too_much(sizes: list[int], fit: int, following: str | None) -> None:
    ids, cursor = fitting(places(*sizes), following)
    assert ids == [f"x{i}" for i in range(fit)]
    assert decode_cursor(KIND, cursor) == Cursor(KIND, 100.0 - (fit - 1), f"x{fit - 1}")


@given(sizes=st.lists(st.integers(1, 40 * MEGABYTE), max_size=30))
def test_page_after_page_shows_every_letter_once_and_no_page_is_empty(sizes: list[int]) -> None:
    left, shown = places(*sizes), []
    while left:
        ids, cursor = fitting(left, None)
        assert ids
        assert len(ids) == 1 or sum(place.size for place in left[: len(ids)]) <= MAX_PAGE_BYTES
        assert (cursor is None) == (len(ids) == len(left))
        shown += ids
        left = left[len(ids) :]
    assert shown == [f"x{i}" for i in range(len(sizes))]
