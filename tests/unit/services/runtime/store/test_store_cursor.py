"""Cursors come back as they were given out, and nothing else passes for one."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.store.base import BadCursor
from services.runtime.store.cursor import Cursor, decode_cursor

places = st.builds(
    Cursor, kind=st.just("rows"), at=st.floats(allow_nan=False, allow_infinity=False), id=st.text(max_size=40)
)


@given(cursor=places)
def test_a_cursor_comes_back_as_it_was_and_needs_no_escaping_in_a_url(cursor: Cursor) -> None:
    text = cursor.encode()
    assert decode_cursor("rows", text) == cursor
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_no_text_is_the_beginning() -> None:
    assert decode_cursor("rows", None) is None


@given(text=st.text(max_size=60))
def test_no_other_text_is_one(text: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor("rows", text)


@pytest.mark.parametrize(
    "content",
    [
        ["others", 1.5, "x"],
        ["rows", 1, "x"],
        ["rows", True, "x"],
        ["rows", "1.5", "x"],
        ["rows", 1.5, 2],
        ["rows", 1.5],
        ["rows", 1.5, "x", "y"],
        ["rows", float("nan"), "x"],
        ["rows", float("inf"), "x"],
        {"kind": "rows"},
        None,
        [[[[[]]]]],
    ],
)
def test_a_well_made_text_of_other_content_is_none(content: Any) -> None:
    text = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    with pytest.raises(BadCursor, match="is not a cursor of rows"):
        decode_cursor("rows", text)


def test_a_deep_text_is_none() -> None:
    text = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    with pytest.raises(BadCursor):
        decode_cursor("rows", text)
