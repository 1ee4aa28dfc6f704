"""The files of message keys, as they are written: JWK sets (RFC 7517, RFC 8037) of Ed25519 keys.

``NAME.private.json`` holds the keys with which one service signs; ``trusted.json`` the public keys of all who may send,
each with its holder's name, kind and, for hosts of agents, the agent types that they answer for.
"""

import json
import os
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.runtime.security.principal import SenderKind
from services.runtime.settings import BadSettings

TRUSTED = "trusted.json"
NAME_PATTERN = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
AgentType = Annotated[str, StringConstraints(pattern=rf"^({NAME_PATTERN}|\*)$")]
KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
KeyText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]  # 32 bytes as base64url


class BadKeys(BadSettings):
    """A file of keys is missing, cannot be read, or has what must not be in it."""


class _Entry(BaseModel):
    """``use``, ``alg`` and ``key_ops`` are what other programs may write beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    x: KeyText
    kid: KeyId
    iat: int = Field(ge=0)
    use: Literal["sig"] | None = None
    alg: Literal["EdDSA", "Ed25519"] | None = None
    key_ops: tuple[str, ...] | None = None


class PublicEntry(_Entry):
    """A key that is trusted. ``iat`` is when it was made, ``exp`` until when it is taken; epoch seconds."""

    name: Name
    kind: SenderKind
    agent_types: tuple[AgentType, ...] = ()
    exp: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _types_are_of_agents(self) -> "PublicEntry":
        if self.agent_types and self.kind is not SenderKind.AGENT:
            raise ValueError(f"agent_types are for kind agent, and {self.name} is of kind {self.kind.value}")
        return self

    @property
    def key(self) -> OKPKey:
        return OKPKey.import_key({"kty": self.kty, "crv": self.crv, "x": self.x})


class PrivateEntry(_Entry):
    """A key to sign with, from ``iat`` on. ``d`` is the secret."""

    d: KeyText = Field(repr=False)

    @model_validator(mode="after")
    def _halves_fit(self) -> "PrivateEntry":
        public = urlsafe_b64encode(self.key.public_key.public_bytes_raw()).rstrip(b"=").decode()
        if public != self.x:
            raise ValueError("x is not the public half of d")
        return self

    @property
    def key(self) -> OKPKey:
        return OKPKey.import_key({"kty": self.kty, "crv": self.crv, "x": self.x, "d": self.d})


Key = TypeVar("Key", PublicEntry, PrivateEntry)


class KeySet(BaseModel, Generic[Key]):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...]

    @model_validator(mode="after")
    def _ids_differ(self) -> "KeySet[Key]":
        seen: set[str] = set()
        for entry in self.keys:
            if entry.kid in seen:
                raise ValueError(f"two keys have the kid {entry.kid!r}")
            seen.add(entry.kid)
        return self


def private_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.private.json"


def trusted_path(folder: Path) -> Path:
    return folder / TRUSTED


def read_public(path: Path) -> tuple[PublicEntry, ...]:
    """
    Raises:
        BadKeys: the file is missing, or has anything but public keys with their holders.
    """
    return _read(path, KeySet[PublicEntry]).keys


def read_private(path: Path) -> tuple[PrivateEntry, ...]:
    """
    Raises:
        BadKeys: the file is missing, has anything but private keys, or everybody on this machine may read it.
    """
    keys = _read(path, KeySet[PrivateEntry]).keys
    if os.name == "posix" and path.stat().st_mode & 0o007:
        raise BadKeys(
            f"{path}: everybody on this machine may read or write it; allowed is its owner (chmod 600 {path})"
        )
    return keys


def write_public(path: Path, entries: tuple[PublicEntry, ...]) -> None:
    _write(path, KeySet[PublicEntry](keys=entries), 0o644)


def write_private(path: Path, entries: tuple[PrivateEntry, ...]) -> None:
    _write(path, KeySet[PrivateEntry](keys=entries), 0o600)


S = TypeVar("S", bound=BaseModel)


def _read(path: Path, of: type[S]) -> S:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadKeys(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return of.model_validate_json(content)
    except ValidationError as error:
        raise BadKeys(f"{path}: {_in_words(error)}") from None  # its cause shows what is in the file
    except (JoseError, ValueError) as error:
        raise BadKeys(f"{path}: a key in it is none: {type(error).__name__}") from None


def _in_words(error: ValidationError) -> str:
    """Without what was found: it may be a secret."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:10]
    )


def _write(path: Path, keys: BaseModel, mode: int) -> None:
    """Whole or not at all: services read it while it is written."""
    content: dict[str, Any] = keys.model_dump(mode="json", exclude_none=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            os.fchmod(file.fileno(), mode)
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
