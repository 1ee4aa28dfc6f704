"""From the copy of a message to what the audit log says of it. Pure, and never about contents.

A command is recorded as ``sent``, its answer as ``done`` or ``refused`` under the command's correlation id, the end of
an execution as ``done`` or ``failed``, and a dead letter as ``refused`` (``failed`` where its handler did) with the
reason and with who the message claims to be from. What cannot be opened or read is recorded as well.
"""

import math
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

from pydantic import ValidationError

from contracts.audit import AccessRecorded, AuditRecord, AuditResult
from contracts.envelope import envelope_of
from contracts.topology import Exchange
from services.auditor.copies import Copy, Said, said_in, text_in
from services.auditor.message_kinds import ACCESS, NOT_RECORDED, RECORDED, Kind
from services.runtime.bus import delivering
from services.runtime.masking import masked_text
from services.runtime.security.principal import Principal, SenderKind

EDGE: Final = "edge"
NAMELESS: Final = "(nameless)"
_OF_A_REQUEST: Final = ("key:", "user:", "anonymous")
_SHORT: Final = 280  # characters of what is filtered by
_LONG: Final = 600
_PLAIN: Final = re.compile(r"(exec-|wf-)?[0-9a-f]{32}|[0-9a-f-]{36}|")  # ids as we make them
_LATEST: Final = 253_402_300_799.0  # epoch seconds: the end of the year 9999
_FAILURES: Final = frozenset({"agent-failed", "handler-failed", "delivery-limit"})
# What our own checks say of a message, without its contents; the words of handlers and agents may quote them.
_TOLD: Final = frozenset(
    {
        "contract",
        "unknown-type",
        "unknown-execution",
        "unsigned",
        "bad-signature",
        "unknown-key",
        "expired",
        "replayed",
        "forbidden-sender",
        "undecryptable",
    }
)

# The correlation id of a command that was recorded before, by the command's id; None if it is not known.
Asked = Callable[[str], str | None]


def records_of(copy: Copy, now: float, asked: Asked) -> list[AuditRecord]:
    """What is recorded of a copy; ``now`` is in epoch seconds."""
    said = said_in(copy)
    kind = copy.type or said.type
    if copy.dead:
        return [_dead_letter(copy, said, kind, now)]
    if fault := copy.fault or ("" if kind in NOT_RECORDED else said.unread):
        correlation_id = _own_correlation(copy, said)
        return [_record(copy, said, kind, AuditResult.REFUSED, fault, now, correlation_id, _subject(said, kind))]
    if kind == ACCESS:
        return _accesses(copy, said, now)
    if kind in NOT_RECORDED:
        return []
    shape = RECORDED.get(kind)
    if shape is None:
        return [_record(copy, said, kind, AuditResult.REFUSED, "unknown-type", now, _own_correlation(copy, said))]
    return [_known(copy, said, kind, shape, now, asked)]


def unrecordable(copy: Copy, now: float, error: Exception) -> AuditRecord:
    """What is recorded where everything else failed: that there was something."""
    return AuditRecord(
        id=f"{_place(copy)}/{copy.digest()}/",
        at=now,
        actor="unverified:(unreadable)",
        action="(unreadable)",
        result=AuditResult.REFUSED,
        detail=f"could not be recorded: {type(error).__name__}",
    )


def question_of(copy: Copy) -> str:
    """The id of the command that a copy answers; empty if it is no answer to one."""
    shape = RECORDED.get(copy.type)
    return copy.correlation_id if copy.exchange == Exchange.REPLIES and shape and shape.answers else ""


def command_of(record: AuditRecord) -> str:
    """The id of the message that a record is of; empty where it is of none."""
    return record.id.split("/", 2)[2] if record.id.startswith(Exchange.COMMANDS) else ""


def actor_of(signer: Principal | None, said: Said) -> str:
    """Who is behind a message: whose signature was verified, or on whose behalf the edge says that it sent it; else who
    it claims to be from."""
    if signer is None:
        return clean(f"unverified:{said.actor or said.sender or NAMELESS}", _SHORT)
    if signer.kind is SenderKind.SERVICE and signer.name == EDGE and said.actor.startswith(_OF_A_REQUEST):
        return clean(said.actor, _SHORT)
    return clean(f"{signer.kind.value}:{signer.name}", _SHORT)


@lru_cache(maxsize=2_000)  # types, addresses and names come again with every message
def clean(text: str, most: int) -> str:
    """At most so many characters, secrets masked, without what not every database holds."""
    shown = masked_text(text[: 4 * most])[:most].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return shown.encode("utf-8", "replace").decode()


def _known(copy: Copy, said: Said, kind: str, shape: Kind, now: float, asked: Asked) -> AuditRecord:
    subject = _subject(said, kind)
    correlation_id = _own_correlation(copy, said)
    if copy.exchange == Exchange.REPLIES:
        # An answer names its question; the question has the correlation id of whatever it belongs to.
        question = copy.correlation_id or said.correlation_id
        correlation_id = asked(question) or question
    record = _record(copy, said, kind, shape.result, _notes(shape, said), now, correlation_id, subject)
    if shape.once and copy.exchange == Exchange.EVENTS:
        return record.model_copy(update={"id": clean(f"end/{kind}/{subject}/{record.actor}", 300)})
    return record


def _notes(shape: Kind, said: Said) -> str:
    notes = [f"{word} {text}" for word, path in (shape.notes or {}).items() if (text := text_in(said.payload, *path))]
    notes += [name for name in ("repeated", "replayed") if said.payload.get(name) is True]
    errors = said.payload.get("errors")
    if shape.result is AuditResult.FAILED and isinstance(errors, dict):
        notes += [f"{step}: {text_in(error, 'type')}" for step, error in list(errors.items())[:3]]
        notes += [f"and {len(errors) - 3} more"] if len(errors) > 3 else []
    faults = said.payload.get("faults")
    if shape.result is AuditResult.REFUSED and isinstance(faults, list):
        notes += [f"{text_in(fault, 'code')} at {text_in(fault, 'path')}" for fault in faults[:3] if fault]
        notes += [f"and {len(faults) - 3} more"] if len(faults) > 3 else []
    if shape.answers and said.actor:
        notes.append(f"for {said.actor}")
    return ", ".join(notes)


def _dead_letter(copy: Copy, said: Said, kind: str, now: float) -> AuditRecord:
    reason = copy.headers.get(delivering.REASON) or copy.routing_key
    told = copy.headers.get(delivering.DETAIL, "") if reason in _TOLD else ""
    result = AuditResult.FAILED if reason in _FAILURES else AuditResult.REFUSED
    detail = f"{reason}: {told}" if told else reason
    if copy.fault and not copy.fault.startswith(reason):
        detail += f" (its copy: {copy.fault})"
    died_at = _number(copy.headers.get(delivering.DIED_AT, ""), now)
    return _record(copy, said, kind, result, detail, died_at, _own_correlation(copy, said), _subject(said, kind))


def _accesses(copy: Copy, said: Said, now: float) -> list[AuditRecord]:
    """What the edge says of requests; said by anybody else it is only on record that they said so."""
    signer = copy.signer
    if signer is not None and (signer.kind is not SenderKind.SERVICE or signer.name != EDGE):
        detail = f"forbidden-sender: {signer} says what only the edge may say"
        return [_record(copy, said, ACCESS, AuditResult.REFUSED, detail, now, said.correlation_id)]
    try:
        told = envelope_of(AccessRecorded).model_validate_json(copy.body).payload.records
    except ValidationError as error:
        detail = f"contract: {error.error_count()} faults"
        return [_record(copy, said, ACCESS, AuditResult.REFUSED, detail, now, said.correlation_id)]
    if signer is None:
        return [_as_claimed(record, now) for record in told]
    return [record if _is_a_time(record.at) else record.model_copy(update={"at": now}) for record in told]


def _as_claimed(record: AuditRecord, now: float) -> AuditRecord:
    texts = {name: clean(getattr(record, name), 300) for name in ("id", "action", "subject", "source")}
    return record.model_copy(
        update={
            **texts,
            "actor": clean(f"unverified:{record.actor}", 300),
            "detail": clean(record.detail, _LONG),
            "correlation_id": clean(record.correlation_id, 200),
            "at": record.at if 0 <= record.at <= now else now,
        }
    )


def _record(
    copy: Copy,
    said: Said,
    kind: str,
    result: AuditResult,
    detail: str,
    now: float,
    correlation_id: str,
    subject: str = "",
) -> AuditRecord:
    return AuditRecord(
        id=f"{_place(copy)}/{copy.digest()}/{_plain(copy.message_id or said.id, 200)}",
        at=now if copy.dead else _when(copy, said, now),
        actor=actor_of(copy.signer, said),
        action=clean(kind, _SHORT) or "(no type)",
        subject=_plain(subject, _SHORT),
        source=clean(copy.source, _SHORT),
        result=result,
        detail=clean(detail, _LONG) if detail else "",
        correlation_id=_plain(correlation_id, 200),
    )


def _plain(text: str, most: int) -> str:
    """As ``clean``, for ids, which hardly ever come twice: most have nothing that could be a secret or do harm."""
    return text if len(text) <= most and _PLAIN.fullmatch(text) else clean(text, most)


def _subject(said: Said, kind: str) -> str:
    """What a message is about, where its type says so; of another, whatever looks like it."""
    shape = RECORDED.get(kind)
    paths = shape.subject if shape else (("execution_id",), ("agent_id",), ("id",))
    return next((text for path in paths if (text := text_in(said.payload, *path))), "")


def _place(copy: Copy) -> str:
    return clean(copy.exchange, 60)


def _own_correlation(copy: Copy, said: Said) -> str:
    return said.correlation_id or said.id or copy.correlation_id or copy.message_id


def _when(copy: Copy, said: Said, now: float) -> float:
    """When it was sent. An unsigned message may claim what it likes, but nothing that is to come."""
    try:
        at = datetime.fromisoformat(said.timestamp).timestamp()
    except (ValueError, OverflowError, OSError):
        return now
    return at if 0 <= at <= now or (copy.signer is not None and _is_a_time(at)) else now


def _number(text: str, otherwise: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return value if _is_a_time(value) else otherwise


def _is_a_time(epoch_seconds: float) -> bool:
    return math.isfinite(epoch_seconds) and 0 <= epoch_seconds <= _LATEST
