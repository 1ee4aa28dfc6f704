"""The statement for the places of a page of dead letters."""

import pytest

from services.runtime.store.base import BadCursor, DeadLetterFilter, Page
from services.runtime.store.cursor import Cursor
from services.runtime.store.postgres_dead_letters import page_of_dead_letters


def test_bodies_are_measured_and_not_read() -> None:
    statement, values = page_of_dead_letters(DeadLetterFilter(), Page(5))
    assert statement == (
        "SELECT letter_id, died_at, octet_length(letter) FROM dead_letters"
        " ORDER BY died_at DESC, letter_id DESC LIMIT $1"
    )
    assert values == [6]


def test_what_is_asked_for_is_asked_as_it_is_stored() -> None:
    page = Page(5, Cursor("dead letters", 2.0, "x").encode())
    statement, values = page_of_dead_letters(DeadLetterFilter(type="t\0", queue="q" * 1000), page)
    assert "WHERE type = $1 AND queue = $2 AND (died_at, letter_id) < ($3, $4) ORDER BY" in statement
    assert (values[0], values[2:]) == ("t\\0", [2.0, "x", 6])
    assert len(values[1]) < 400


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(BadCursor):
        page_of_dead_letters(DeadLetterFilter(), Page(5, Cursor("agents", 0.0, "m").encode()))
