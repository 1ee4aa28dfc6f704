"""The file of encryption keys: a JWK set (RFC 7517) of 256-bit oct keys, readable by its owner alone.

Each key has ``kid``; ``iat``, from when on it may encrypt; and at will ``exp``, until when it may: epoch seconds. Of
those that may, the newest encrypts. All of them decrypt, whatever the time: what is stored is as old as it is.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from joserfc.jwk import OctKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.runtime.settings import BadSettings

KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
KeyText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]  # 32 bytes as base64url


class BadEncryptionKeys(BadSettings):
    """The file of encryption keys is missing, cannot be read, or has what must not be in it."""


class EncryptionKey(BaseModel):
    """``k`` is the secret. ``use``, ``alg`` and ``key_ops`` are what other programs may write beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kty: Literal["oct"] = "oct"
    k: KeyText = Field(repr=False)
    kid: KeyId
    iat: int = Field(ge=0)
    exp: int | None = Field(None, ge=0)
    use: Literal["enc"] | None = None
    alg: Literal["dir", "A256GCM"] | None = None
    key_ops: tuple[str, ...] | None = None

    def encrypts(self, now: float) -> bool:
        return self.iat <= now and (self.exp is None or now < self.exp)

    @property
    def key(self) -> OctKey:
        return OctKey.import_key({"kty": self.kty, "k": self.k})


class _KeySet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[EncryptionKey, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_differ(self) -> "_KeySet":
        ids = [key.kid for key in self.keys]
        twice = next((kid for kid in ids if ids.count(kid) > 1), None)
        if twice is not None:
            raise ValueError(f"two keys have the kid {twice!r}")
        return self


def new_key(issued_at: int) -> EncryptionKey:
    generated = OctKey.generate_key(256).as_dict(private=True)
    return EncryptionKey(k=str(generated["k"]), kid=f"enc-{secrets.token_hex(6)}", iat=issued_at)


def encrypting(keys: Sequence[EncryptionKey], now: float) -> EncryptionKey | None:
    """The newest of those that may encrypt now."""
    return next((key for key in newest_first(keys) if key.encrypts(now)), None)


def newest_first(keys: Sequence[EncryptionKey]) -> list[EncryptionKey]:
    """Of two of one second, the one that stands later in the file is the newer."""
    placed = sorted(enumerate(keys), key=lambda pair: (pair[1].iat, pair[0]), reverse=True)
    return [key for _, key in placed]


def read_encryption_keys(path: Path) -> tuple[EncryptionKey, ...]:
    """
    Raises:
        BadEncryptionKeys: the file is missing, has anything but such keys, or everybody on this machine may read it.
    """
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise BadEncryptionKeys(
            f"{path}: the encryption keys cannot be read: {error.strerror or error}; ENCRYPTION_KEYS names the file,"
            " and `python -m services encryption-keys create` makes it"
        ) from error
    if os.name == "posix" and mode & 0o007:
        raise BadEncryptionKeys(
            f"{path}: everybody on this machine may read or write it; allowed is its owner (chmod 600 {path})"
        )
    try:
        return _KeySet.model_validate_json(content).keys
    except ValidationError as error:
        raise BadEncryptionKeys(f"{path}: {_in_words(error)}") from None  # its cause shows what is in the file


def write_encryption_keys(path: Path, keys: Sequence[EncryptionKey]) -> None:
    """Whole or not at all: services read it while it is written.

    Raises:
        BadEncryptionKeys: it cannot be written.
    """
    content: dict[str, Any] = _KeySet(keys=tuple(keys)).model_dump(mode="json", exclude_none=True)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # the owner's alone
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(content, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadEncryptionKeys(f"{path}: cannot be written: {error.strerror or error}") from error


def _in_words(error: ValidationError) -> str:
    """Without what was found: it may be a secret."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:10]
    )
