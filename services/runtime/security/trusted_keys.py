"""Whose signatures are taken: the public keys of ``trusted.json``, and who holds each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.runtime.security.ed25519 import PublicKey
from services.runtime.security.key_files import PublicEntry, read_public, trusted_path
from services.runtime.security.policy import AgentPolicy
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.security.watched_file import WatchedFile


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """``expires_at``: epoch seconds, None for never."""

    key: PublicKey
    principal: Principal
    expires_at: int | None


class TrustedKeys:
    """The file is read again when it changes.

    Args:
        policy: what it grants their agent types goes into the principals of hosts.

    Raises:
        BadKeys: there is no such file, or it has what is no public key of a known kind of holder.
    """

    def __init__(self, folder: Path, policy: AgentPolicy) -> None:
        def read(path: Path) -> Mapping[str, TrustedKey]:
            return {entry.kid: _trusted(entry, policy) for entry in read_public(path)}

        self._keys = WatchedFile(trusted_path(folder), read)

    def find(self, key_id: str) -> TrustedKey | None:
        """The key of this id, expired or not. For one that is not known the file is looked at now: its first message
        may be faster than the next look."""
        return self._keys.value.get(key_id) or self._keys.look().get(key_id)


def _trusted(entry: PublicEntry, policy: AgentPolicy) -> TrustedKey:
    types = frozenset(entry.agent_types)
    may_start, may_message = policy.rights_of(types) if entry.kind is SenderKind.AGENT else (False, frozenset[str]())
    principal = Principal(entry.name, entry.kind, entry.kid, types, may_start, may_message)
    return TrustedKey(PublicKey(entry.key), principal, entry.exp)
