"""Values as they are stored encrypted: what is plain of them, and how the rest is put beside it and taken out again.

A model is encrypted as a whole. What is stored of it has its plain fields, by which it is found and listed, and the JWE
in one of the others. When it is opened, its plain fields must be those that were encrypted, and its place (the kind of
value and its id) the one it was encrypted for: what was altered or moved is not shown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from contracts.agents import AgentRecord
from contracts.dead_letters import DeadLetter
from contracts.history import ExecutionStarted, LogEntry
from contracts.workflow import Workflow
from services.runtime.security.encryption import Cipher, Undecryptable
from services.runtime.security.encryption_keys import BadEncryptionKeys
from services.runtime.store import documents
from services.runtime.store.base import StoreUnavailable, Unreadable, Unstorable

M = TypeVar("M", bound=BaseModel)

MARK = "conclave-encrypted"
_TEXT_MARK = f"{MARK}:"
# Base64 makes 4 bytes of 3, and the plain fields of a model stand beside it.
MAX_SEALED_BYTES = (documents.MAX_TEXT_BYTES - 64 * 1024) // 4 * 3


@dataclass(frozen=True, slots=True)
class Sealed(Generic[M]):
    """How one kind of model is stored: ``stored`` makes what is stored of a model and its JWE; ``token`` finds the JWE
    in what is stored, None where that is not encrypted."""

    kind: str
    model: type[M]
    key: Callable[[M], str]
    stored: Callable[[M, str], M]
    token: Callable[[M], str | None]


class Sealing:
    """Encrypts and decrypts what a store keeps.

    Args:
        required: what is not encrypted is refused.
    """

    def __init__(self, cipher: Cipher, *, required: bool) -> None:
        self._cipher = cipher
        self._required = required

    def model(self, sealed: Sealed[M], model: M) -> M:
        """What is stored of a model.

        Raises:
            Unstorable: it is no JSON, or too much of it.
        """
        key = sealed.key(model)
        return sealed.stored(model, self._close(sealed.kind, key, documents.model_json(sealed.kind, key, model)))

    def opened(self, sealed: Sealed[M], key: str, stored: M) -> M:
        """The model of that key.

        Raises:
            Unreadable: it cannot be decrypted, or not here.
        """
        token = sealed.token(stored)
        if token is None:
            self._refuse_plain(sealed.kind, key)
            return stored
        model = documents.parsed(sealed.model, sealed.kind, key, self._open(sealed.kind, key, token))
        if sealed.stored(model, token) != stored:
            raise Unreadable(f"{sealed.kind} {key} was altered: what stands beside its encrypted content is not its")
        return model

    def value(self, kind: str, key: str, json: bytes) -> dict[str, str]:
        """What is stored of a JSON value."""
        return {MARK: self._close(kind, key, json)}

    def is_plain(self, stored: Any) -> bool:
        return _token_of_value(stored) is None

    def opened_value(self, kind: str, key: str, stored: Any) -> bytes | None:
        """The JSON of a stored value; None if it is not encrypted and may be plain."""
        token = _token_of_value(stored)
        if token is None:
            self._refuse_plain(kind, key)
            return None
        return self._open(kind, key, token)

    def _close(self, kind: str, key: str, json: bytes) -> str:
        if len(json) > MAX_SEALED_BYTES:
            raise Unstorable(
                f"{kind} {key} is {len(json):,} bytes of JSON; the limit is {MAX_SEALED_BYTES:,} with encryption"
            )
        try:
            return self._cipher.encrypt(json, place=_place(kind, key)).decode()
        except BadEncryptionKeys as error:
            raise StoreUnavailable(f"{kind} {key} cannot be encrypted: {error}") from error

    def _open(self, kind: str, key: str, token: str) -> bytes:
        try:
            return self._cipher.decrypt(token.encode(), place=_place(kind, key))
        except Undecryptable as error:
            raise Unreadable(f"{kind} {key} cannot be decrypted: {error}") from error

    def _refuse_plain(self, kind: str, key: str) -> None:
        if self._required:
            raise Unreadable(f"{kind} {key} is not encrypted, and MESSAGE_ENCRYPTION is required here")


# ---- the kinds


def _entry_stored(entry: LogEntry, token: str) -> LogEntry:
    """As the start of an execution whose definition is nowhere: a reader without keys ends there."""
    carrier = ExecutionStarted(definition_hash=MARK, request_hash=token, workflow_name="")
    return LogEntry(execution_id=entry.execution_id, n=entry.n, at=entry.at, applied=(), events=(carrier,))


def _entry_token(entry: LogEntry) -> str | None:
    match entry.events:
        case (ExecutionStarted(definition_hash=mark, request_hash=token),) if mark == MARK:
            return token
    return None


def _workflow_stored(workflow: Workflow, token: str) -> Workflow:
    return workflow.model_copy(update={"description": _TEXT_MARK + token})


def _agent_stored(agent: AgentRecord, token: str) -> AgentRecord:
    return agent.model_copy(update={"config": {MARK: token}, "error": ""})


def _letter_stored(letter: DeadLetter, token: str) -> DeadLetter:
    return letter.model_copy(update={"detail": _TEXT_MARK + token, "headers": {}, "body": ""})


def _token_of_text(text: str) -> str | None:
    return text.removeprefix(_TEXT_MARK) if text.startswith(_TEXT_MARK) else None


def _token_of_value(value: Any) -> str | None:
    if isinstance(value, Mapping) and value.keys() == {MARK} and isinstance(value[MARK], str):
        return str(value[MARK])
    return None


ENTRY = Sealed("log entry", LogEntry, lambda entry: entry.id, _entry_stored, _entry_token)
WORKFLOW = Sealed(
    "workflow",
    Workflow,
    lambda workflow: workflow.workflow_id,
    _workflow_stored,
    lambda workflow: _token_of_text(workflow.description),
)
AGENT = Sealed(
    "agent", AgentRecord, lambda agent: agent.agent_id, _agent_stored, lambda agent: _token_of_value(agent.config)
)
LETTER = Sealed(
    "dead letter",
    DeadLetter,
    lambda letter: letter.id,
    _letter_stored,
    lambda letter: _token_of_text(letter.detail),
)
# One whose body travelled encrypted, and is stored beside the rest as it came.
ENCRYPTED_LETTER = replace(LETTER, kind="dead letter of an encrypted message")


def _place(kind: str, key: str) -> str:
    return f"{kind} {key}"
