"""Large values stand outside the log: a write-once payload document, and a reference in the entry."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from contracts.history import Event, ExecutionStarted, LogEntry, PayloadRef, StepSucceeded

INLINE_LIMIT = 64 * 1024


def reference(execution_id: str, value: Any) -> PayloadRef | None:
    """A reference for a value over the inline limit, None for one that may stand in the log."""
    encoded = to_json(value)
    if len(encoded) <= INLINE_LIMIT:
        return None
    digest = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    return PayloadRef(payload_id=f"{execution_id}/{digest}", size=len(encoded))


def set_apart(events: Iterable[Event]) -> tuple[list[Event], dict[str, Any]]:
    """Events as they are stored, and the payload documents to write before them."""
    stored: list[Event] = []
    payloads: dict[str, Any] = {}
    for event in events:
        match event:
            case StepSucceeded(output_ref=PayloadRef() as ref):
                payloads[ref.payload_id] = event.output
                stored.append(event.model_copy(update={"output": None}))
            case ExecutionStarted(inputs_ref=PayloadRef() as ref):
                payloads[ref.payload_id] = event.inputs
                stored.append(event.model_copy(update={"inputs": None}))
            case _:
                stored.append(event)
    return stored, payloads


def references(entries: Iterable[LogEntry]) -> set[str]:
    """The ids of the payload documents that these entries refer to."""
    return {ref.payload_id for entry in entries for event in entry.events if (ref := _ref(event)) is not None}


def put_back(entry: LogEntry, payloads: Mapping[str, Any]) -> LogEntry:
    """The entry with its payloads in their places.

    Raises:
        KeyError: a payload document is missing, though it was written before the entry.
    """
    if not references([entry]):
        return entry
    return entry.model_copy(update={"events": tuple(_filled(event, payloads) for event in entry.events)})


def _ref(event: Event) -> PayloadRef | None:
    match event:
        case StepSucceeded():
            return event.output_ref
        case ExecutionStarted():
            return event.inputs_ref
        case _:
            return None


def _filled(event: Event, payloads: Mapping[str, Any]) -> Event:
    ref = _ref(event)
    if ref is None:
        return event
    place = "output" if isinstance(event, StepSucceeded) else "inputs"
    return event.model_copy(update={place: payloads[ref.payload_id]})
