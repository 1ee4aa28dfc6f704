"""The committed schemas of the messages, held against the code."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from contracts.catalog import MESSAGES
from contracts.envelope import wrap
from contracts.json_schema import SCHEMAS_FOLDER, committed_schemas, current_schemas, message_schema, render
from contracts.registry import AgentMail
from scripts import schemas as command

CURRENT = current_schemas()


@pytest.mark.parametrize("kind", sorted(MESSAGES))
def test_schema_is_committed_and_says_what_the_code_says(kind: str) -> None:
    path = SCHEMAS_FOLDER / f"{kind}.json"
    assert path.exists(), f"{kind} has no committed schema: run python scripts/schemas.py write"
    found = [str(one) for one in command.differences(CURRENT, SCHEMAS_FOLDER) if one.kind == kind]
    assert not found, "\n".join([*found, "run: python scripts/schemas.py write"])


def test_every_committed_schema_has_its_message() -> None:
    assert committed_schemas().keys() == MESSAGES.keys()


@pytest.mark.parametrize("kind", sorted(MESSAGES))
def test_types_are_names_with_versions_and_schemas_are_valid(kind: str) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+\.v[1-9][0-9]*", kind)
    Draft202012Validator.check_schema(CURRENT[kind])
    assert CURRENT[kind]["properties"]["type"]["const"] == kind


def test_a_real_message_fits_its_schema_and_another_type_does_not() -> None:
    message = json.loads(wrap(AgentMail(agent_id="a", body={}), sender="test").model_dump_json())
    validator = Draft202012Validator(message_schema(AgentMail))
    assert validator.is_valid(message)
    assert not validator.is_valid({**message, "type": "agent.mail.v2"})


# ---- the command, on a copy with changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, schema in CURRENT.items():
        (tmp_path / f"{kind}.json").write_text(render(schema), encoding="utf-8")
    return tmp_path


def change(folder: Path, kind: str, **payload_changes: object) -> str:
    """Make the committed file differ from the code, and return its text."""
    path = folder / f"{kind}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    payload = schema["$defs"][schema["properties"]["payload"]["$ref"].rpartition("/")[2]]
    payload.update(payload_changes)
    path.write_text(render(schema), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def test_nothing_to_do(folder: Path) -> None:
    assert command.main(["check"], folder) == 0
    assert command.main(["write"], folder) == 0


def test_compatible_change_fails_the_check_and_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, "agent.mail.v1", description="Other words.")
    assert command.main(["check"], folder) == 1
    assert "agent.mail.v1: changed, compatibly" in capsys.readouterr().out
    assert command.main(["write"], folder) == 0
    assert command.main(["check"], folder) == 0


def test_incompatible_change_is_not_written_without_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = change(folder, "agent.mail.v1", required=[])
    assert command.main(["check"], folder) == 1
    assert command.main(["write", "--readers-first"], folder) == 1
    assert (folder / "agent.mail.v1.json").read_text(encoding="utf-8") == before
    assert "incompatible: payload.agent_id: field is required now" in capsys.readouterr().out
    assert command.main(["write", "--force"], folder) == 0
    assert command.main(["check"], folder) == 0


def test_widening_is_written_on_demand_only(folder: Path) -> None:
    everything = CURRENT["agent.mail.v1"]["$defs"]["AgentMail"]
    change(folder, "agent.mail.v1", additionalProperties=False)
    assert command.main(["write"], folder) == 0, "accepting unknown fields again harms nobody"
    bounded = {**everything["properties"], "agent_id": {"type": "string", "maxLength": 5}}
    change(folder, "agent.mail.v1", properties=bounded)
    assert command.main(["write"], folder) == 1
    assert command.main(["write", "--readers-first"], folder) == 0


def test_message_without_a_schema(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "agent.mail.v1.json").unlink()
    assert command.main(["check"], folder) == 1
    assert "agent.mail.v1: has no committed schema" in capsys.readouterr().out
    assert command.main(["write"], folder) == 0
    assert (folder / "agent.mail.v1.json").exists()


def test_message_that_is_gone_stays_until_a_newer_version_exists(folder: Path) -> None:
    (folder / "step.stopped.v1.json").write_text(render(CURRENT["step.run.v1"]), encoding="utf-8")
    assert command.main(["write"], folder) == 1
    assert (folder / "step.stopped.v1.json").exists()
    (folder / "step.stopped.v1.json").unlink()
    (folder / "step.run.v0.json").write_text(render(CURRENT["step.run.v1"]), encoding="utf-8")
    assert command.main(["write"], folder) == 0
    assert not (folder / "step.run.v0.json").exists()


def test_a_file_that_is_no_json_is_named(folder: Path) -> None:
    (folder / "step.run.v1.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"step\.run\.v1\.json is not JSON"):
        command.main(["check"], folder)
