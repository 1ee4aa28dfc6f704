"""Dead letters as they are shown."""

import base64
from typing import Any

import pytest

from contracts.dead_letters import DeadLetter
from services.edge.dead_letter_models import PREVIEW_CHARACTERS, show_letter, summarise_letter


def letter(body: str, **more: Any) -> DeadLetter:
    return DeadLetter(id="d1", reason="contract", body=body, size=len(body), died_at=0.0, **more)


@pytest.mark.parametrize(
    ("body", "shown", "body_format"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}, "json"),
        ("7", 7, "json"),
        ("no json", "no json", "text"),
        ("", "", "text"),
        ('{"a": NaN}', '{"a": NaN}', "text"),
    ],
)
def test_a_body_is_json_where_it_is_json(body: str, shown: Any, body_format: str) -> None:
    view = show_letter(letter(body), "/d1")
    assert (view.body, view.body_format) == (shown, body_format)
    view.model_dump_json()


def test_bytes_stay_as_they_came() -> None:
    raw = base64.b64encode(b"\xff\x00").decode()
    view = show_letter(letter(raw, encoded=True), "/d1")
    assert (view.body, view.body_format) == (raw, "base64")


def test_a_list_shows_the_beginning_and_the_size() -> None:
    row = summarise_letter(letter("x" * 10_000, headers={"h": "1"}), "/d1")
    assert (len(row.preview), row.size) == (PREVIEW_CHARACTERS, 10_000)
    assert row.href == "/d1"
    assert "body" not in row.model_dump()
    assert row.model_dump(mode="json")["died_at"] == "1970-01-01T00:00:00Z"
