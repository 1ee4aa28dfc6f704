"""Each number of docs/limits.md is that of the code."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
IN_TABLES = re.findall(r"^\| [^|]+ \| ([\d,]+) \| `([\w.]+)` \|", PAGE, re.MULTILINE)
IN_TEXT = re.findall(r"([\d,]+)\s[^\d(]*?\(`([\w.]+)`\)", PAGE)


def value_of(place: str) -> Any:
    holder, _, name = place.rpartition(".")
    try:
        return getattr(importlib.import_module(holder), name)
    except ModuleNotFoundError:
        module, _, model = holder.rpartition(".")
        found: type[BaseModel] = getattr(importlib.import_module(module), model)
        return found.model_fields[name].default


def test_there_are_numbers_to_compare() -> None:
    assert len(IN_TABLES) > 30
    assert len(IN_TEXT) >= 7


@pytest.mark.parametrize(("number", "place"), [*IN_TABLES, *IN_TEXT], ids=lambda value: value.rpartition(".")[2])
def test_a_number_is_that_of_the_code(number: str, place: str) -> None:
    assert int(number.replace(",", "")) == value_of(place)


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("services/runtime/definitions", ("MAX_", "STEP_", "MESSAGE_WORK", "CHECK_WORK")),
        ("services/data_agent/config.py", ("MAX_",)),
        ("services/decision_agent/zen_work.py", ("MAX_",)),
    ],
)
def test_no_limit_is_missing(folder: str, names: tuple[str, ...]) -> None:
    root = Path(__file__).resolve().parents[2]
    paths = sorted((root / folder).glob("*.py")) if (root / folder).is_dir() else [root / folder]
    named = {place.rpartition(".")[2] for _, place in [*IN_TABLES, *IN_TEXT]}
    inner = {"MAX_CYCLES", "MAX_ERRORS", "MAX_WORDED", "MAX_DEPTH", "STEP_FIELDS"}
    for path in paths:
        found = re.findall(r"^([A-Z][A-Z_]+)(?:: \w+)? = ", path.read_text(encoding="utf-8"), re.MULTILINE)
        missing = [name for name in found if name.startswith(names) and name not in named | inner]
        assert not missing, f"{path.name}: docs/limits.md says nothing of {missing}"
