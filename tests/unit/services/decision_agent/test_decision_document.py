"""docs/decision_methods.md: its requests run, its answers are true, its lists are complete."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from services.decision_agent.promethee import FORMULAS, MAX_ALTERNATIVES
from services.decision_agent.request_models import MakeDecision, Method
from services.decision_agent.table_models import HitPolicy

ROOT = Path(__file__).parents[4]
TEXT = (ROOT / "docs" / "decision_methods.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json request\n(.*?)```\n```json answer\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("request_text", "answer_text"), EXAMPLES)
def test_the_examples_answer_what_the_document_says(decide, request_text, answer_text):
    answer = decide(**json.loads(request_text))
    expected = json.loads(answer_text)
    assert {name: answer[name] for name in expected} == expected


def test_there_are_examples():
    assert len(EXAMPLES) == TEXT.count("```json request") == 4


def test_every_field_method_and_shape_is_described():
    names = [*MakeDecision.model_fields, *get_args(Method), *get_args(HitPolicy), *FORMULAS]
    assert [name for name in names if f"`{name}`" not in TEXT] == []
    assert f"at most {MAX_ALTERNATIVES:,} alternatives" in TEXT


def test_every_error_code_of_the_agent_is_listed():
    sources = (ROOT / "services" / "decision_agent").glob("*.py")
    codes = {code for path in sources for code in re.findall(r'refuse\(\s*"(\w+)"', path.read_text(encoding="utf-8"))}
    assert len(codes) > 15
    listed = set(re.findall(r"`(\w+)`", TEXT.split("**Errors.**")[1]))
    assert listed == codes
