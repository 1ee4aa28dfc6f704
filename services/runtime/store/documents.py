"""How the store's values are written, whatever the database: as JSON, or as documents that hold it.

What is queried stands in fields of its own; everything else is one JSON text. JSON, because outputs, inputs and
definitions are free JSON, which BSON and its kin do not hold: integers beyond 64 bits, lone NULs in keys. One text,
because it is one pass over the value and one field for the server: measured on the embedded store, an insert of
entries cost half of what it cost as nested documents, and the same bytes.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from contracts.access import ApiKey
from contracts.agents import AgentRecord
from contracts.dead_letters import DeadLetter
from contracts.envelope import Contract
from contracts.history import Header, LogEntry
from contracts.hosts import HostAnnounced
from contracts.workflow import Workflow
from services.runtime.store.base import Host, StoreError, Unstorable

Document = dict[str, Any]
M = TypeVar("M", bound=BaseModel)

# MongoDB refuses documents over 16 MiB; what is kept back is for the id, the other fields and their names. The limit is
# every store's, so that what one takes another does.
MAX_TEXT_BYTES = 16 * 1024 * 1024 - 16 * 1024


def entry_json(entry: LogEntry) -> bytes:
    return model_json("log entry", entry.id, entry)


def entry_document(entry: LogEntry) -> Document:
    return {"_id": entry.id, "entry": entry_json(entry).decode()}


def entry_of_json(key: str, json: bytes | str) -> LogEntry:
    return parsed(LogEntry, "log entry", key, json)


def entry_of(document: Mapping[str, Any]) -> LogEntry:
    return entry_of_json(document["_id"], document["entry"])


def payload_json(payload_id: str, value: Any) -> bytes:
    return _free_json("payload", payload_id, value)


def payload_document(payload_id: str, value: Any) -> Document:
    return {"_id": payload_id, "value": payload_json(payload_id, value).decode()}


def payload_of_json(key: str, json: bytes | str) -> Any:
    return _free_value("payload", key, json)


def payload_of(document: Mapping[str, Any]) -> Any:
    return payload_of_json(document["_id"], document["value"])


def definition_json(definition_hash: str, definition: Mapping[str, Any]) -> bytes:
    return _free_json("definition", definition_hash, dict(definition))


def definition_document(definition_hash: str, definition: Mapping[str, Any]) -> Document:
    return {"_id": definition_hash, "definition": definition_json(definition_hash, definition).decode()}


def definition_of_json(key: str, json: bytes | str) -> dict[str, Any]:
    return dict(_free_value("definition", key, json))


def definition_of(document: Mapping[str, Any]) -> dict[str, Any]:
    return definition_of_json(document["_id"], document["definition"])


def workflow_json(workflow: Workflow) -> bytes:
    return model_json("workflow", workflow.workflow_id, workflow)


def workflow_document(workflow: Workflow) -> Document:
    return {
        "_id": workflow.workflow_id,
        "name": workflow.name,
        "created_at": workflow.created_at,
        "workflow": workflow_json(workflow).decode(),
    }


def workflow_of_json(key: str, json: bytes | str) -> Workflow:
    return parsed(Workflow, "workflow", key, json)


def workflow_of(document: Mapping[str, Any]) -> Workflow:
    return workflow_of_json(document["_id"], document["workflow"])


def header_document(header: Header) -> Document:
    """Every field is queried or small, so all are fields; those that are None are left out, of indexes too."""
    document = {"_id": header.execution_id, **header.model_dump(mode="json", exclude_none=True)}
    del document["execution_id"]
    return document


def header_of(document: Mapping[str, Any]) -> Header:
    return Header.model_validate({**document, "execution_id": document["_id"]})


class _Parting(Contract):
    """Beside what a host announced, in the same JSON; rows of earlier versions have nothing of it."""

    stopped: bool = False


class _StoppedHost(_Parting, HostAnnounced):
    pass


def host_json(host: Host) -> bytes:
    said = host.announced
    stored = _StoppedHost.model_construct(**dict(said), stopped=True) if host.stopped else said
    return model_json("host", said.host_id, stored)


def host_document(host: Host) -> Document:
    return {
        "_id": host.announced.host_id,
        "seen_at": host.seen_at,
        "available": host.available,
        "announced": host_json(host).decode(),
    }


def host_of_json(key: str, seen_at: float, available: bool, json: bytes | str) -> Host:
    stopped = parsed(_Parting, "host", key, json).stopped
    return Host(parsed(HostAnnounced, "host", key, json), seen_at, available, stopped)


def host_of(document: Mapping[str, Any]) -> Host:
    return host_of_json(document["_id"], document["seen_at"], document["available"], document["announced"])


def agent_json(agent: AgentRecord) -> bytes:
    return model_json("agent", agent.agent_id, agent)


def agent_document(agent: AgentRecord) -> Document:
    return {
        "_id": agent.agent_id,
        "agent_type": agent.agent_type,
        "status": agent.status.value,
        "capabilities": list(agent.capabilities),
        "default": agent.default,
        "agent": agent_json(agent).decode(),
    }


def agent_of_json(key: str, json: bytes | str) -> AgentRecord:
    return parsed(AgentRecord, "agent", key, json)


def agent_of(document: Mapping[str, Any]) -> AgentRecord:
    return agent_of_json(document["_id"], document["agent"])


def dead_letter_json(letter: DeadLetter) -> bytes:
    return model_json("dead letter", letter.id, letter)


def dead_letter_document(letter: DeadLetter) -> Document:
    json = dead_letter_json(letter)
    return {
        "_id": letter.id,
        "reason": letter.reason,
        "type": letter.type,
        "queue": letter.queue,
        "died_at": letter.died_at,
        "bytes": len(json),
        "letter": json.decode(),
    }


def dead_letter_of_json(key: str, json: bytes | str) -> DeadLetter:
    return parsed(DeadLetter, "dead letter", key, json)


def dead_letter_of(document: Mapping[str, Any]) -> DeadLetter:
    return dead_letter_of_json(document["_id"], document["letter"])


def api_key_json(key: ApiKey) -> bytes:
    return model_json("API key", key.id, key)


def api_key_document(key: ApiKey) -> Document:
    return {"_id": key.id, "key": api_key_json(key).decode()}


def api_key_of_json(key_id: str, json: bytes | str) -> ApiKey:
    return parsed(ApiKey, "API key", key_id, json)


def api_key_of(document: Mapping[str, Any]) -> ApiKey:
    return api_key_of_json(document["_id"], document["key"])


def model_json(kind: str, key: str, value: BaseModel) -> bytes:
    """The model as JSON, without what is None.

    Raises:
        Unstorable: it is no JSON, or more of it than a store takes.
    """
    try:
        return _fitting(kind, key, value.__pydantic_serializer__.to_json(value, exclude_none=True))
    except PydanticSerializationError as error:
        raise Unstorable(f"{kind} {key} cannot be written as JSON: {error}") from error


def _free_json(kind: str, key: str, value: Any) -> bytes:
    try:
        return _fitting(kind, key, to_json(value, inf_nan_mode="constants"))
    except PydanticSerializationError as error:
        raise Unstorable(f"{kind} {key} cannot be written as JSON: {error}") from error


def _fitting(kind: str, key: str, json: bytes) -> bytes:
    if len(json) > MAX_TEXT_BYTES:
        raise Unstorable(f"{kind} {key} is {len(json):,} bytes of JSON; the limit is {MAX_TEXT_BYTES:,}")
    return json


def parsed(model: type[M], kind: str, key: str, json: bytes | str) -> M:
    """The model of that JSON.

    Raises:
        StoreError: it is not that model's.
    """
    try:
        return model.model_validate_json(json)
    except ValidationError as error:
        raise StoreError(f"{kind} {key} cannot be read: {error}") from error


def _free_value(kind: str, key: str, json: bytes | str) -> Any:
    try:
        return from_json(json)
    except ValueError as error:
        raise StoreError(f"{kind} {key} cannot be read: {error}") from error
