"""The secrets that an installation has, each in one file of one folder; what is missing there is made.

``rabbitmq/USER.password``, ``signing/`` (the message keys of all who may send), ``encryption.json``,
``api-key-hash-key``, ``admin-key``, ``database-password``, ``database-root-password``, ``mongodb-keyfile``,
``redis-password`` and, where asked for, ``tls/``. Whoever has this folder has the installation.
"""

import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts.deployed_services import deployed_services
from scripts.deployment.certificates import Certificate, authority_in, server_certificate_in
from scripts.rabbitmq_users import passwords_in
from scripts.secret_files import kept_secret, new_password
from services.runtime.security import key_ring
from services.runtime.security.api_keys import new_key_text
from services.runtime.security.encryption_keys import new_key, write_encryption_keys
from services.runtime.security.key_ring import KeyRing
from services.runtime.security.principal import SenderKind

_A_DAY = 86_400  # seconds
_KEYFILE_BYTES = 756  # mongod takes 6 to 1024 characters of base64


@dataclass(frozen=True, slots=True)
class Masters:
    """Secrets as text; ``signing`` is the folder of the message keys, ``certificates`` are ``ca`` and the servers', or
    empty."""

    rabbitmq: Mapping[str, str]
    signing: Path
    encryption: str
    api_key_hash_key: str
    admin_key: str
    database_password: str
    database_root_password: str
    mongodb_keyfile: str
    redis_password: str
    certificates: Mapping[str, Certificate]


def masters_in(
    folder: Path,
    users: Sequence[str],
    agent_services: Mapping[str, Sequence[str]],
    clients: Sequence[str],
    *,
    tls_hosts: Mapping[str, Sequence[str]] | None = None,
    renewed: Sequence[str] = (),
) -> Masters:
    """
    Args:
        folder: where they are kept, for their owner alone.
        users: RabbitMQ's users.
        agent_services: services that host agents, with their types, which their message keys answer for.
        clients: programs that publish themselves, and have message keys too.
        tls_hosts: the host names of each server that gets a certificate.
        renewed: users that get a new password.

    Raises:
        UnsafeSecret, Failed: a file is empty, or others can read it; the latter for one of RabbitMQ's.
        BadKeys: a file of message keys cannot be used.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signing = folder / "signing"
    with key_ring.opened(signing, time.time()) as ring:
        _keys_for_all(ring, agent_services, clients)
    return Masters(
        rabbitmq=passwords_in(folder / "rabbitmq", users, renewed),
        signing=signing,
        encryption=_encryption_keys(folder / "encryption.json"),
        api_key_hash_key=kept_secret(folder / "api-key-hash-key", new_password),
        admin_key=kept_secret(folder / "admin-key", lambda: str(new_key_text())),
        database_password=kept_secret(folder / "database-password", new_password),
        database_root_password=kept_secret(folder / "database-root-password", new_password),
        mongodb_keyfile=kept_secret(folder / "mongodb-keyfile", _keyfile),
        redis_password=kept_secret(folder / "redis-password", new_password),
        certificates=_certificates(folder / "tls", tls_hosts or {}),
    )


def _keyfile() -> str:
    return base64.b64encode(secrets.token_bytes(_KEYFILE_BYTES)).decode()


def _keys_for_all(ring: KeyRing, agent_services: Mapping[str, Sequence[str]], clients: Sequence[str]) -> None:
    for name in deployed_services():
        if not ring.of(name) and name not in agent_services:
            ring.create(name, SenderKind.SERVICE, ())
    for name, types in agent_services.items():
        own = ring.of(name)
        if not own:
            ring.create(name, SenderKind.AGENT, tuple(types))
        elif types and set(own[-1].agent_types) != set(types):
            # Types that came later: what was signed before stays valid for a day.
            ring.rotate(name, overlap=_A_DAY, after=0, agent_types=tuple(types))
    for name in clients:
        if not ring.of(name):
            ring.create(name, SenderKind.CLIENT, ())


def _encryption_keys(path: Path) -> str:
    if not path.exists():
        write_encryption_keys(path, [new_key(int(time.time()))])
    return path.read_text(encoding="utf-8")


def _certificates(folder: Path, hosts: Mapping[str, Sequence[str]]) -> dict[str, Certificate]:
    if not hosts:
        return {}
    now = datetime.now(UTC)
    issued = {server: server_certificate_in(folder, server, names, now) for server, names in hosts.items()}
    return {"ca": authority_in(folder, now), **issued}
