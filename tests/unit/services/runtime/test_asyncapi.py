"""The AsyncAPI document: complete, consistent, and true of real messages."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts import topology
from contracts.catalog import MESSAGES
from contracts.envelope import wrap
from contracts.execution import RunSteps, StartExecution, StepCommand
from services.runtime import asyncapi

DOCUMENT = asyncapi.asyncapi_document()
COMPONENT_KEY = re.compile(r"[a-zA-Z0-9.\-_]+")  # AsyncAPI 3.0, Components Object


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_every_message_of_the_catalog_is_documented_and_travels_somewhere() -> None:
    assert DOCUMENT["components"]["messages"].keys() == MESSAGES.keys()
    travelling = {kind for channel in DOCUMENT["channels"].values() for kind in channel["messages"]}
    assert travelling == MESSAGES.keys()


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > len(MESSAGES)
    for reference in found:
        assert resolve(reference) is not None


def test_keys_are_what_asyncapi_allows() -> None:
    components = DOCUMENT["components"]
    keys = [*components["messages"], *components["schemas"], *DOCUMENT["servers"]]
    assert [key for key in keys if not COMPONENT_KEY.fullmatch(key)] == []


def test_operations_use_messages_of_their_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{operation['channel']['$ref']}/messages/")


def test_commands_are_received_and_answered_and_events_are_sent() -> None:
    start = DOCUMENT["operations"]["receive.execution.start.v1"]
    answers = {reference["$ref"].rpartition("/")[2] for reference in start["reply"]["messages"]}
    assert answers == {"execution.accepted.v1", "command.refused.v1"}
    assert DOCUMENT["operations"]["send.execution.completed.v1"]["action"] == "send"
    assert "receive.execution.completed.v1" not in DOCUMENT["operations"]


def test_addresses_are_the_topology_s() -> None:
    channel = DOCUMENT["channels"]["conclave.agents.agent_type.agent_id.action"]
    assert channel["address"] == topology.agent_work("{agent_type}", "{agent_id}", "{action}").key
    assert channel["parameters"].keys() == {"agent_type", "agent_id", "action"}
    assert channel["bindings"]["amqp"]["exchange"]["name"] == topology.Exchange.AGENTS
    quarantine = DOCUMENT["channels"]["conclave.agents.quarantine.agent_type.action"]
    assert quarantine["address"] == topology.agent_quarantine("{agent_type}", "{action}").key


@pytest.mark.parametrize(
    "message",
    [
        StartExecution(execution_id="e1", workflow_id="w1"),
        RunSteps(
            agent_type="data_agent",
            action="query",
            commands=(StepCommand(execution_id="e1", step="s", attempt=1, timeout=5, reply_key="shard.0"),),
        ),
    ],
    ids=lambda message: message.TYPE,
)
def test_schemas_hold_for_real_messages(message: Any) -> None:
    sent = json.loads(wrap(message, sender="test").model_dump_json())
    schema = {**DOCUMENT, "$ref": f"#/components/messages/{message.TYPE}/payload"}
    validator = Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(sent)] == []
    sent["payload"].popitem()
    sent["payload"].pop(next(iter(sent["payload"])))
    assert not validator.is_valid(sent)


def test_definitions_and_discriminators_are_as_asyncapi_wants_them() -> None:
    text = json.dumps(DOCUMENT)
    assert "$defs" not in text
    assert '"discriminator": {' not in text


def test_credentials_are_not_shown() -> None:
    document = asyncapi.asyncapi_document("amqps://user:hunter2@broker.example:5671/prod")
    assert "hunter2" not in json.dumps(document)
    server = document["servers"]["rabbitmq"]
    assert (server["host"], server["pathname"], server["protocol"]) == ("broker.example:5671", "/prod", "amqps")


def test_every_durable_queue_is_listed() -> None:
    names = {queue["name"] for queue in DOCUMENT["x-queues"]}
    shards = {queue.name for queue in topology.orchestrator_shards()}
    assert shards | {topology.dead_letters().name, topology.orchestrator_commands().name} <= names


def test_page_shows_the_document_and_links_to_it() -> None:
    page = asyncapi.asyncapi_html(json_url="/asyncapi.json", script_url="/viewer.js", style_url="/viewer.css")
    assert '<script src="/viewer.js">' in page
    assert '<a href="/asyncapi.json">' in page
    assert "execution.start.v1" in page
    assert "http" not in re.sub(r"https?://json-schema\.org", "", page.partition("<body>")[0]), (
        "nothing else is fetched"
    )


def test_no_text_of_the_document_can_end_the_script_it_stands_in() -> None:
    plain = asyncapi.asyncapi_html("amqp://broker/x")
    hostile = asyncapi.asyncapi_html("amqp://broker/</script><script>alert(1)</script>")
    assert "alert" in hostile
    assert hostile.count("<script") == plain.count("<script")
    assert hostile.count("</script") == plain.count("</script")
    config = re.search(r"AsyncApiStandalone\.render\(\s*(\{.*\}),\s*document", hostile, re.DOTALL)
    assert config is not None
    assert json.loads(json.loads(config[1])["schema"])["info"]["title"] == "Conclave"


def test_command_writes_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncapi.main(["-o", str(tmp_path / "asyncapi.json")]) == 0
    assert json.loads((tmp_path / "asyncapi.json").read_text(encoding="utf-8")) == DOCUMENT
    assert asyncapi.main([]) == 0
    assert json.loads(capsys.readouterr().out) == DOCUMENT
    assert asyncapi.main(["--html"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")
