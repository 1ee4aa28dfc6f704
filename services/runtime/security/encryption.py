"""Encryption of what travels and of what is stored: JWE (RFC 7516), compact, ``dir`` with A256GCM.

Nothing is compressed before: the size of what is compressed tells of its contents. The header names the key (``kid``)
and, of a stored value, its place (``place``, a digest). The header is authenticated with the content, so a value that
was moved to another place does not open there.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.registry import HeaderParameter

from services.runtime.security.encryption_keys import (
    BadEncryptionKeys,
    EncryptionKey,
    encrypting,
    read_encryption_keys,
)
from services.runtime.security.watched_file import WatchedFile
from services.runtime.settings import Mode, Settings

ALGORITHM = "dir"
ENCRYPTION = "A256GCM"
MAX_HEADER = 512  # bytes of base64url; ours have 90 to 240
_SEPARATORS = 4
_HEADER_BEGINS = b"eyJ"  # {" in base64url
_NAMES = frozenset({"alg", "enc", "kid", "place"})


class Undecryptable(Exception):
    """This cannot be decrypted here; the message says why, and shows nothing of it."""


class _Registry(jwe.JWERegistry):
    # How large a value may be is said by whoever keeps or carries it.
    max_ciphertext_length = 1 << 31


_REGISTRY = _Registry(
    header_registry={"place": HeaderParameter("digest of where the value is stored", "str")},
    algorithms=[ALGORITHM, ENCRYPTION],
)


@dataclass(frozen=True, slots=True)
class _Keys:
    entries: Sequence[EncryptionKey]
    by_id: Mapping[str, OctKey]


class Cipher:
    """Encrypts with the newest key of a file and decrypts with all of them; the file is read again when it changes.

    Args:
        clock: epoch seconds.

    Raises:
        BadEncryptionKeys: the file is missing or wrong, or has no key that may encrypt now.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._file = WatchedFile(path, _read)
        self._current(self._file.value)

    def encrypt(self, content: bytes, *, place: str | None = None) -> bytes:
        """A compact JWE.

        Args:
            place: where the value will be stored; it can be decrypted with the same place alone.

        Raises:
            BadEncryptionKeys: no key may encrypt now.
        """
        keys = self._file.value
        kid = self._current(keys).kid
        header = {"alg": ALGORITHM, "enc": ENCRYPTION, "kid": kid}
        if place is not None:
            header["place"] = digest(place)
        return jwe.encrypt_compact(header, content, keys.by_id[kid], registry=_REGISTRY).encode()

    def decrypt(self, value: bytes, *, place: str | None = None) -> bytes:
        """
        Raises:
            Undecryptable: it is none of ours, was altered, is of another place, or its key is not there.
        """
        header = read_header(value)
        found = header.get("place")
        if found != (None if place is None else digest(place)):
            raise Undecryptable(
                "it was encrypted for another place" if found is not None else "it was not encrypted to be stored"
            )
        key = self._key(header["kid"])
        try:
            content = jwe.decrypt_compact(value, key, registry=_REGISTRY).plaintext
        except (JoseError, ValueError) as error:
            raise Undecryptable(f"it was altered, or encrypted with another key called {header['kid']}") from error
        if content is None:
            raise Undecryptable("it has no content")
        return content

    def _current(self, keys: _Keys) -> EncryptionKey:
        key = encrypting(keys.entries, self._clock())
        if key is None:
            raise BadEncryptionKeys(
                f"{self._file.path}: no key may encrypt now, by their iat and exp; `python -m services encryption-keys"
                " rotate` adds one"
            )
        return key

    def _key(self, kid: str) -> OctKey:
        # A key that is not known may be one that another service has just begun to use.
        key = self._file.value.by_id.get(kid) or self._file.look().by_id.get(kid)
        if key is None:
            raise Undecryptable(f"there is no key {kid} in {self._file.path}")
        return key


def open_cipher(settings: Settings, *, clock: Callable[[], float] = time.time) -> Cipher | None:
    """None where the settings want no encryption.

    Raises:
        BadEncryptionKeys: as ``Cipher``.
    """
    if settings.message_encryption is Mode.OFF:
        return None
    return Cipher(settings.encryption_keys, clock=clock)


def is_encrypted(value: bytes) -> bool:
    """Whether it looks like a compact JWE, ours or not; no JSON does."""
    return value.startswith(_HEADER_BEGINS) and value.count(b".") == _SEPARATORS


def read_header(value: bytes) -> dict[str, str]:
    """The header of a JWE as we make them; nothing of it is verified yet.

    Raises:
        Undecryptable: it has another header, or none.
    """
    if not is_encrypted(value):
        raise Undecryptable("it is not encrypted, or not as a compact JWE")
    end = value.index(b".")
    if end > MAX_HEADER:
        raise Undecryptable(f"its header has {end:,} bytes; the limit is {MAX_HEADER}")
    try:
        padded = value[:end] + b"=" * (-end % 4)
        header: Any = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:
        raise Undecryptable("its header is no JSON") from error
    if not isinstance(header, dict) or not all(isinstance(text, str) for text in header.values()):
        raise Undecryptable("its header is no object of texts")
    if header.get("alg") != ALGORITHM or header.get("enc") != ENCRYPTION:
        raise Undecryptable(
            f"its header says alg {header.get('alg')!r} and enc {header.get('enc')!r}; only {ALGORITHM} with"
            f" {ENCRYPTION} is taken"
        )
    if unknown := header.keys() - _NAMES:
        raise Undecryptable(f"its header has {', '.join(map(repr, sorted(unknown)))}, which is not taken")
    if "kid" not in header:
        raise Undecryptable("its header names no key (kid)")
    return header


def digest(place: str) -> str:
    """SHA-256 as 43 characters of base64url: a place may be a long text, or one that says much."""
    return base64.urlsafe_b64encode(hashlib.sha256(place.encode(errors="surrogatepass")).digest()).rstrip(b"=").decode()


def _read(path: Path) -> _Keys:
    entries = read_encryption_keys(path)
    return _Keys(entries, {entry.kid: entry.key for entry in entries})
