"""Signed checkpoints: the auditor says how far the chain goes and what it is there.

A checkpoint is a compact JWS (RFC 7515, EdDSA with Ed25519) of a JSON object: ``n`` and ``hash`` of an entry, ``at``
(epoch seconds), and ``previous``, the number of the checkpoint before it (0: none), so that one which is missing shows.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Final

import structlog
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.audit import AuditCheckpoint, AuditEntry
from services.runtime.security.key_files import BadKeys
from services.runtime.security.signatures import SigningKey
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.settings import Mode, Settings

log = structlog.get_logger(__name__)

SIGNER: Final = "auditor"
ALGORITHM: Final = "EdDSA"
TYPE: Final = "conclave-audit-checkpoint"  # so that no other signature of this key is taken for one

_EDDSA: Final = JWSRegistry.algorithms[ALGORITHM]
_FORM: Final = re.compile(r"([A-Za-z0-9_-]{1,1000})\.([A-Za-z0-9_-]{1,1000})\.([A-Za-z0-9_-]{86})")


class NoCheckpoint(ValueError):
    """What stands where a checkpoint's signature should be is none; the message says why."""


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """What a signature says, and whether ``key_id``'s holder said it is for ``verify`` to tell."""

    key_id: str
    n: int
    hash: str
    at: float
    previous: int


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    alg: str
    kid: str
    typ: str


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid")

    n: int
    hash: str
    at: float
    previous: int


class Checkpoints:
    """Makes checkpoints with the newest of the auditor's keys. ``keys`` is None where there are none: then there are
    no checkpoints, which is logged once and loudly."""

    def __init__(self, keys: SigningKeys | None) -> None:
        self._keys = keys
        self._told = False

    def of(self, entry: AuditEntry, at: float, previous: int) -> AuditCheckpoint | None:
        """The checkpoint at ``entry``; ``previous`` is the number of the one before."""
        if self._keys is None:
            self._say_that_there_are_none()
            return None
        return sign(entry, at, previous, self._keys.current)

    def _say_that_there_are_none(self) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "THE AUDIT LOG IS NOT SIGNED: whoever writes to the store can rewrite it and nobody will know",
                missing=f"{SIGNER}.private.json in MESSAGE_KEYS",
                make_it_with="python -m services message-keys create",
            )


def open_checkpoints(settings: Settings) -> Checkpoints:
    """
    Raises:
        BadKeys: messages are to be signed, and there is no usable key; or there is one that must not be used.
    """
    try:
        return Checkpoints(SigningKeys(settings.message_keys, SIGNER))
    except BadKeys:
        if settings.message_signing is not Mode.OFF or (settings.message_keys / f"{SIGNER}.private.json").exists():
            raise
        return Checkpoints(None)


def sign(entry: AuditEntry, at: float, previous: int, key: SigningKey) -> AuditCheckpoint:
    header = {"alg": ALGORITHM, "kid": key.key_id, "typ": TYPE}
    signed = _encoded(header) + b"." + _encoded({"n": entry.n, "hash": entry.hash, "at": at, "previous": previous})
    value = urlsafe_b64encode(_EDDSA.sign(signed, key.key)).rstrip(b"=")
    return AuditCheckpoint(n=entry.n, hash=entry.hash, at=at, signature=(signed + b"." + value).decode())


def read(signature: str) -> SignedCheckpoint:
    """
    Raises:
        NoCheckpoint: it is no compact JWS, or not of a checkpoint.
    """
    found = _FORM.fullmatch(signature)
    if found is None:
        raise NoCheckpoint("it is no compact JWS")
    try:
        header = _Header.model_validate_json(_decoded(found[1]))
        payload = _Payload.model_validate_json(_decoded(found[2]))
    except (ValidationError, ValueError) as error:
        raise NoCheckpoint(f"its header or its payload is not a checkpoint's ({type(error).__name__})") from None
    if (header.alg, header.typ) != (ALGORITHM, TYPE):
        raise NoCheckpoint(f"its alg is {header.alg!r} and its typ {header.typ!r}, not {ALGORITHM!r} and {TYPE!r}")
    return SignedCheckpoint(header.kid, payload.n, payload.hash, payload.at, payload.previous)


def verify(signature: str, key: OKPKey) -> bool:
    """Whether the holder of ``key`` signed it."""
    signed, _, value = signature.rpartition(".")
    return bool(_EDDSA.verify(signed.encode(), _decoded(value), key))


def _encoded(value: dict[str, Any]) -> bytes:
    return urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
