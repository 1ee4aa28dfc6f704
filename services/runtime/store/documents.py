"""How the store's values are written as documents, whatever the database.

What is queried stands in fields of its own; everything else is one JSON text. JSON, because outputs, inputs and
definitions are free JSON, which BSON and its kin do not hold: integers beyond 64 bits, lone NULs in keys. One text,
because it is one pass over the value and one field for the server: measured on the embedded store, an insert of
entries cost half of what it cost as nested documents, and the same bytes.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from contracts.agents import AgentAnnounced
from contracts.history import Header, LogEntry
from contracts.workflow import Workflow
from services.runtime.store.base import AgentHost, StoreError, Unstorable

Document = dict[str, Any]
M = TypeVar("M", bound=BaseModel)

# MongoDB refuses documents over 16 MiB; what is kept back is for the id, the other fields and their names.
MAX_TEXT_BYTES = 16 * 1024 * 1024 - 16 * 1024


def entry_document(entry: LogEntry) -> Document:
    return {"_id": entry.id, "entry": _model_text("log entry", entry.id, entry)}


def entry_of(document: Mapping[str, Any]) -> LogEntry:
    return _parsed(LogEntry, "log entry", document, "entry")


def payload_document(payload_id: str, value: Any) -> Document:
    return {"_id": payload_id, "value": _free_text("payload", payload_id, value)}


def payload_of(document: Mapping[str, Any]) -> Any:
    return _free_value("payload", document, "value")


def definition_document(definition_hash: str, definition: Mapping[str, Any]) -> Document:
    return {"_id": definition_hash, "definition": _free_text("definition", definition_hash, dict(definition))}


def definition_of(document: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_free_value("definition", document, "definition"))


def workflow_document(workflow: Workflow) -> Document:
    return {
        "_id": workflow.workflow_id,
        "name": workflow.name,
        "created_at": workflow.created_at,
        "workflow": _model_text("workflow", workflow.workflow_id, workflow),
    }


def workflow_of(document: Mapping[str, Any]) -> Workflow:
    return _parsed(Workflow, "workflow", document, "workflow")


def header_document(header: Header) -> Document:
    """Every field is queried or small, so all are fields; those that are None are left out, of indexes too."""
    document = {"_id": header.execution_id, **header.model_dump(mode="json", exclude_none=True)}
    del document["execution_id"]
    return document


def header_of(document: Mapping[str, Any]) -> Header:
    return Header.model_validate({**document, "execution_id": document["_id"]})


def host_document(host: AgentHost) -> Document:
    announced = host.announced
    return {
        "_id": announced.host_id,
        "seen_at": host.seen_at,
        "announced": _model_text("agent host", announced.host_id, announced),
    }


def host_of(document: Mapping[str, Any]) -> AgentHost:
    announced = _parsed(AgentAnnounced, "agent host", document, "announced")
    return AgentHost(announced=announced, seen_at=document["seen_at"])


def _model_text(kind: str, key: str, value: BaseModel) -> str:
    try:
        return _fitting(kind, key, value.model_dump_json(exclude_none=True))
    except PydanticSerializationError as error:
        raise Unstorable(f"{kind} {key} cannot be written as JSON: {error}") from error


def _free_text(kind: str, key: str, value: Any) -> str:
    try:
        return _fitting(kind, key, to_json(value, inf_nan_mode="constants").decode())
    except PydanticSerializationError as error:
        raise Unstorable(f"{kind} {key} cannot be written as JSON: {error}") from error


def _fitting(kind: str, key: str, text: str) -> str:
    """A character takes 4 bytes at most, so short texts are not measured twice."""
    if len(text) * 4 > MAX_TEXT_BYTES and (size := len(text.encode())) > MAX_TEXT_BYTES:
        raise Unstorable(f"{kind} {key} is {size:,} bytes of JSON; the limit is {MAX_TEXT_BYTES:,}")
    return text


def _parsed(model: type[M], kind: str, document: Mapping[str, Any], field: str) -> M:
    try:
        return model.model_validate_json(document[field])
    except ValidationError as error:
        raise StoreError(f"{kind} {document['_id']} cannot be read: {error}") from error


def _free_value(kind: str, document: Mapping[str, Any], field: str) -> Any:
    try:
        return from_json(document[field])
    except ValueError as error:
        raise StoreError(f"{kind} {document['_id']} cannot be read: {error}") from error
