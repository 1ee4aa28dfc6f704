"""What the documents and examples say, held against the code."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, SecretStr
from pydantic_core import PydanticUndefined

from contracts import topology
from contracts.catalog import MESSAGES
from contracts.envelope import envelope_of
from contracts.execution import StartExecution
from contracts.workflow import WorkflowDefinition, structure_faults
from services.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def settings_by_variable() -> dict[str, str]:
    """Variable -> its default, as one would write it in the environment."""
    found: dict[str, str] = {}
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        name = str(alias.choices[0]) if isinstance(alias, AliasChoices) else str(alias)
        assert field.default is not PydanticUndefined
        default: Any = getattr(field.default, "value", field.default)
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        if isinstance(default, tuple):
            found[name] = ",".join(default)
        elif isinstance(default, bool):
            found[name] = str(default).lower()
        else:
            found[name] = "" if default in (None, {}) else str(default)
    return found


def test_env_example_lists_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE)) == settings_by_variable()


def test_env_example_changes_nothing_when_it_is_copied() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_readme_lists_every_setting_with_its_default() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \|(?: `([^`]*)`)? \|", text, re.MULTILINE)
    assert dict(rows) == settings_by_variable()


@pytest.mark.parametrize(
    "page",
    sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]),
    ids=lambda p: p.name,
)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_json_blocks_in_the_documents_are_json() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    for page in pages:
        for block in re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            json.loads(block)


# ---- examples of publishing


def published() -> tuple[dict[str, Any], dict[str, Any]]:
    body = json.loads((EXAMPLES / "start_execution.json").read_text(encoding="utf-8"))
    return body, json.loads(body["payload"])


def constants_of_script() -> dict[str, Any]:
    tree = ast.parse((EXAMPLES / "publish_and_follow.py").read_text(encoding="utf-8"))
    assignments = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value]
    targets = [node.targets[0] if isinstance(node, ast.Assign) else node.target for node in assignments]
    return {
        target.id: ast.literal_eval(node.value)
        for target, node in zip(targets, assignments, strict=True)
        if isinstance(target, ast.Name) and node.value
    }


def test_the_published_example_is_a_message_of_ours() -> None:
    body, envelope = published()
    read = envelope_of(StartExecution).model_validate(envelope)
    assert body["properties"]["type"] == envelope["type"] == StartExecution.TYPE
    assert body["routing_key"] == read.payload.address().key
    assert set(envelope["payload"]) <= set(StartExecution.model_fields)


def test_both_examples_of_publishing_start_the_same_workflow() -> None:
    _, envelope = published()
    definition = constants_of_script()["DEFINITION"]
    assert envelope["payload"]["definition"] == definition
    assert structure_faults(WorkflowDefinition.model_validate(definition)) == []


def test_the_script_uses_names_that_exist() -> None:
    text = (EXAMPLES / "publish_and_follow.py").read_text(encoding="utf-8")
    exchanges = {name.strip('"') for name in re.findall(r'"conclave\.[a-z]+"', text)}
    assert exchanges == {
        topology.Exchange.EVENTS.value,
        topology.Exchange.COMMANDS.value,
        topology.Exchange.REPLIES.value,
    }
    kinds = set(re.findall(r'"([a-z]+\.[a-z_]+\.v\d+)"', text))
    assert kinds
    assert kinds <= MESSAGES.keys()
    assert f'"{StartExecution(execution_id="x").address().key}"' in text


def test_the_script_imports_nothing_of_ours() -> None:
    tree = ast.parse((EXAMPLES / "publish_and_follow.py").read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"contracts", "services", "scripts"}
