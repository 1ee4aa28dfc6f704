"""Encryption keys of a test's own."""

import time
from collections.abc import Callable
from pathlib import Path

from services.runtime.security.encryption import Cipher
from services.runtime.security.encryption_keys import (
    EncryptionKey,
    new_key,
    read_encryption_keys,
    write_encryption_keys,
)


def key_file(folder: Path, *, keys: int = 1) -> Path:
    """A file with this many keys, the last of them the newest."""
    path = folder / "encryption.json"
    write_encryption_keys(path, [new_key(i) for i in range(keys)])
    return path


def own_cipher(folder: Path, clock: Callable[[], float] = time.time) -> Cipher:
    """One whose keys are in a file of this folder, which is made if it is not there."""
    path = folder / "encryption.json"
    return Cipher(path if path.exists() else key_file(folder), clock=clock)


def rotated(path: Path) -> EncryptionKey:
    """The key that is added, the newest."""
    keys = read_encryption_keys(path)
    added = new_key(max(key.iat for key in keys) + 1)
    write_encryption_keys(path, [*keys, added])
    return added


def retired(path: Path, kid: str) -> None:
    write_encryption_keys(path, [key for key in read_encryption_keys(path) if key.kid != kid])
