"""``.env.example`` says of each setting what the settings say of it. That it lists all of them, with their defaults, is
held in ``test_documents``."""

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from services.runtime.settings import Settings

TEXT = (Path(__file__).resolve().parents[2] / ".env.example").read_text(encoding="utf-8")


def variables_of(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


FIELDS = {variables_of(field)[0]: field for field in Settings.model_fields.values()}


def blocks() -> Iterator[tuple[list[str], str]]:
    """Settings that stand together, and what is said above them."""
    for block in TEXT.split("\n\n"):
        names = re.findall(r"^#([A-Z_]+)=", block, re.MULTILINE)
        said = [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]
        yield names, " ".join(said)


SAID = {name: said for names, said in blocks() for name in names}


def words_of(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).split()


@pytest.mark.parametrize("variable", FIELDS)
def test_a_setting_is_explained_as_the_settings_explain_it(variable: str) -> None:
    meaning = words_of(FIELDS[variable].description or "")
    assert meaning, f"{variable} has no description in the settings"
    said = words_of(SAID[variable])
    assert [word for word in meaning if word not in said] == []


@pytest.mark.parametrize("variable", [name for name, field in FIELDS.items() if isinstance(field.default, Enum)])
def test_a_setting_with_few_values_names_them_all(variable: str) -> None:
    values = [str(one.value) for one in type(FIELDS[variable].default)]
    assert [value for value in values if value not in SAID[variable]] == []


def test_other_names_of_settings_are_told() -> None:
    others = [(name, first) for first, field in FIELDS.items() for name in variables_of(field)[1:]]
    assert others
    for name, first in others:
        assert f"{name} is read too" in SAID[first]


def test_what_may_come_in_a_file_is_told() -> None:
    said = next(said for _, said in blocks() if "VARIABLE_FILE" in said)
    assert "Each secret may be given as VARIABLE_FILE" in said
    secrets = [name for name, field in FIELDS.items() if field.annotation is SecretStr]
    assert secrets == ["API_KEY_HASH_KEY", "INITIAL_ADMIN_KEY", "JWT_SECRET_KEY"]
    for name in ("DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"):
        assert name in said
