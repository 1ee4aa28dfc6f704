"""The keys with which one service signs, from its ``NAME.private.json``."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from services.runtime.security.key_files import BadKeys, private_path, read_private
from services.runtime.security.signatures import SigningKey
from services.runtime.security.watched_file import WatchedFile

log = structlog.get_logger(__name__)


class SigningKeys:
    """Signs with the newest key whose time has come. The file is read again when it changes.

    Args:
        clock: epoch seconds.

    Raises:
        BadKeys: there is no such file, it holds no key, or everybody on this machine may read it.
    """

    def __init__(self, folder: Path, name: str, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        path = private_path(folder, name)
        self._keys = WatchedFile(path, read_signing_keys)
        if os.name == "posix" and path.stat().st_mode & 0o070:
            log.warning("the group of a private key's file may read or write it", path=str(path), better="chmod 600")

    @property
    def current(self) -> SigningKey:
        now = self._clock()
        keys = self._keys.value
        return next((key for key in keys if key.issued_at <= now), keys[-1])


def read_signing_keys(path: Path) -> tuple[SigningKey, ...]:
    """The newest first.

    Raises:
        BadKeys: as ``SigningKeys``.
    """
    entries = read_private(path)
    if not entries:
        raise BadKeys(f"{path}: has no key")
    keys = (SigningKey(entry.kid, entry.key, entry.iat) for entry in entries)
    return tuple(sorted(keys, key=lambda key: key.issued_at, reverse=True))
