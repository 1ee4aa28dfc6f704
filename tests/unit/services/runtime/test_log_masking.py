"""Lines are masked as fast as may be, and exactly as before they were: what was seen to be harmless is remembered."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime import log_lines
from services.runtime.log_lines import LogLine, as_json
from services.runtime.masking import MASK, masked, masked_text
from services.runtime.secret_names import names_a_secret
from tests.unit.services.runtime.test_masking import TEXTS

NAMES = st.sampled_from(["note", "password", "api_key", "step", "detail", "execution_id", "x y"]) | TEXTS
VALUES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS | st.lists(TEXTS, max_size=3)


def line_of(fields: dict[str, Any], keep: list[dict[str, Any]], line: LogLine) -> dict[str, Any]:
    line(None, "info", dict(fields))
    return keep[-1]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=4))
def test_each_field_is_masked_as_by_itself_whatever_was_said_before(lines: list[dict[str, Any]]) -> None:
    keep: list[dict[str, Any]] = []

    def show(line: dict[str, Any]) -> str:
        keep.append(line)
        return ""

    line = LogLine("edge", show)
    for fields in [*lines, *lines]:
        found = line_of(fields, keep, line)
        for name, value in fields.items():
            if name in ("timestamp", "level", "service", "exc_info"):
                continue
            assert found[name] == alone(name, value), name


def alone(name: str, value: Any) -> Any:
    if names_a_secret(name):
        return None if value is None else MASK
    return masked_text(value) if isinstance(value, str) else masked(value)


def test_no_more_than_a_few_thousand_texts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_REMEMBERED", 10)
    line = LogLine("edge", as_json)
    for number in range(100):
        line(None, "info", {"event": f"e{number}", "note": f"pwd=n{number}"})
        assert len(line._masks._harmless) <= 10
    assert not any("pwd" in text for text in line._masks._harmless), "and none of them holds a secret"


def test_the_time_is_utc_to_the_microsecond() -> None:
    keep: list[dict[str, Any]] = []
    line_of({"event": "x"}, keep, LogLine("edge", lambda line: str(keep.append(line))))
    text = keep[0]["timestamp"]
    assert text.endswith("Z")
    assert len(text) == len("2026-01-01T00:00:00.000000Z")
    assert datetime.fromisoformat(text).utcoffset() == timedelta(0)
