"""The folder of message keys, as whoever administers it changes it: one at a time."""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from joserfc.jwk import OKPKey

from services.runtime.security.key_files import (
    NAME_PATTERN,
    BadKeys,
    PrivateEntry,
    PublicEntry,
    private_path,
    read_private,
    read_public,
    trusted_path,
    write_private,
    write_public,
)
from services.runtime.security.principal import SenderKind

_LOCK = ".lock"


class NoSuchKey(ValueError):
    """There is no key of that id or name, or there is one already; the message says what to do."""


def is_name(text: str) -> bool:
    return re.fullmatch(NAME_PATTERN, text) is not None


@contextmanager
def opened(folder: Path, now: float) -> Iterator["KeyRing"]:
    """The folder's keys, made if it is not there, and nobody else changes them meanwhile. ``now``: epoch seconds.

    Raises:
        BadKeys: a file in it cannot be used.
        OSError: it cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield KeyRing(folder, int(now))
    finally:
        os.close(handle)


class KeyRing:
    """``trusted``: every public key, in the order of their making."""

    def __init__(self, folder: Path, now: int) -> None:
        self.folder = folder
        self.now = now
        path = trusted_path(folder)
        self.trusted = read_public(path) if path.exists() else ()

    def of(self, name: str) -> list[PublicEntry]:
        """Somebody's keys that are valid."""
        return [entry for entry in self.trusted if entry.name == name and (entry.exp is None or entry.exp > self.now)]

    def signing(self, name: str) -> str:
        """The id of the key that somebody signs with now, as far as it is in this folder."""
        begun = [entry for entry in self._private(name) if entry.iat <= self.now]
        return max(begun, key=lambda entry: entry.iat).kid if begun else ""

    def has_private(self, entry: PublicEntry) -> bool:
        return any(own.kid == entry.kid for own in self._private(entry.name))

    def create(self, name: str, kind: SenderKind, agent_types: Sequence[str]) -> PublicEntry:
        """
        Raises:
            NoSuchKey: the name has a key.
        """
        if found := self.of(name):
            raise NoSuchKey(
                f"{name} has a key: {found[-1].kid}; `python -m services message-keys rotate {name}` makes another"
            )
        path = private_path(self.folder, name)
        if path.exists() and read_private(path):
            raise NoSuchKey(f"{path} has a key that {trusted_path(self.folder)} does not know; move it away first")
        return self._add(name, kind, agent_types, self.now, keep=())

    def rotate(self, name: str, *, overlap: int, after: int, agent_types: Sequence[str] | None = None) -> PublicEntry:
        """A new key that signs ``after`` seconds from now; those before are valid for ``overlap`` seconds more.

        Raises:
            NoSuchKey: the name has no valid key, or waits for the last one that was made to begin.
        """
        before = self.of(name)
        if not before:
            raise NoSuchKey(f"{name} has no valid key; `python -m services message-keys create {name}` makes one")
        last = before[-1]
        if last.iat > self.now:
            raise NoSuchKey(f"{last.kid} has not begun yet; retire it first, or wait")
        if agent_types and last.kind is not SenderKind.AGENT:
            raise NoSuchKey(f"{name} is of kind {last.kind.value} and answers for no agent types")
        begins = max(self.now + after, last.iat + 1)
        ends = begins + overlap
        self.trusted = tuple(
            entry.model_copy(update={"exp": ends if entry.exp is None else min(entry.exp, ends)})
            if entry in before
            else entry
            for entry in self.trusted
        )
        signing = self.signing(name)
        keep = tuple(own for own in self._private(name) if begins > self.now and own.kid == signing)
        return self._add(name, last.kind, last.agent_types if agent_types is None else agent_types, begins, keep=keep)

    def retire(self, kid: str) -> PublicEntry:
        """Take a key out of both files.

        Raises:
            NoSuchKey: none has that id.
        """
        entry = next((entry for entry in self.trusted if entry.kid == kid), None)
        if entry is None:
            known = ", ".join(entry.kid for entry in self.trusted) or "none"
            raise NoSuchKey(f"no key {kid!r}; there are: {known}")
        self._write_public(tuple(other for other in self.trusted if other is not entry))
        own = self._private(entry.name)
        left = tuple(one for one in own if one.kid != kid)
        if left:
            write_private(private_path(self.folder, entry.name), left)
        elif own:
            private_path(self.folder, entry.name).unlink()
        return entry

    def _add(
        self,
        name: str,
        kind: SenderKind,
        agent_types: Sequence[str],
        begins: int,
        *,
        keep: tuple[PrivateEntry, ...],
    ) -> PublicEntry:
        key = OKPKey.generate_key("Ed25519").as_dict(private=True)
        day = datetime.fromtimestamp(begins, UTC).strftime("%Y%m%d")
        kid = f"{name}-{day}-{secrets.token_hex(4)}"
        public = PublicEntry(x=str(key["x"]), kid=kid, iat=begins, name=name, kind=kind, agent_types=tuple(agent_types))
        # Trusted first: the moment the private key is there, its service signs with it.
        self._write_public((*self.trusted, public))
        private = PrivateEntry(x=public.x, d=str(key["d"]), kid=kid, iat=begins)
        write_private(private_path(self.folder, name), (*keep, private))
        return public

    def _write_public(self, entries: tuple[PublicEntry, ...]) -> None:
        write_public(trusted_path(self.folder), entries)
        self.trusted = entries

    def _private(self, name: str) -> tuple[PrivateEntry, ...]:
        path = private_path(self.folder, name)
        try:
            return read_private(path) if path.exists() else ()
        except BadKeys:
            return ()
