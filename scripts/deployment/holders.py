"""Who of an installation is given which secrets: the files that each container finds in its folder. Pure, but for
reading the folder of message keys."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from scripts.deployed_services import DeployedService
from scripts.deployment.masters import Masters
from scripts.rabbitmq_permissions import WATCHERS, Broker
from scripts.rabbitmq_users import definitions_of
from services.runtime.security.key_files import TRUSTED, private_path, trusted_path

DATABASE_USER = "conclave"
Files = Mapping[str, str]


class BadAddress(ValueError):
    """An address is not what it has to be; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are, as the services see them: URLs without user and password. ``redis`` may be empty."""

    rabbitmq: str
    database: str
    redis: str = ""

    @property
    def vhost(self) -> str:
        return unquote(urlsplit(self.rabbitmq).path.removeprefix("/")) or "/"


def with_login(url: str, user: str, password: str, schemes: Sequence[str]) -> str:
    """
    Raises:
        BadAddress: it has another scheme, no host, or a login already.
    """
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname or "@" in parts.netloc:
        allowed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise BadAddress(f"{url!r} is no address: expected {allowed}host[:port]/..., without user and password")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()


def files_of_holders(
    masters: Masters,
    broker: Broker,
    addresses: Addresses,
    services: Mapping[str, DeployedService],
    clients: Sequence[str],
) -> dict[str, Files]:
    """Holder -> file name -> content. Holders are the services, the clients, those that only watch the broker
    (``scaler``), and ``rabbitmq``, ``mongodb``, ``redis``, ``backup`` and ``admin``."""
    own = {name: _of_service(service, masters, addresses) for name, service in services.items()}
    own |= {name: _of_client(name, masters, addresses) for name in clients}
    definitions = definitions_of(broker, masters.rabbitmq, addresses.vhost)
    return {
        **own,
        **{name: {"rabbitmq-url": _rabbitmq_url(name, masters, addresses)} for name in WATCHERS},
        "rabbitmq": {"definitions.json": json.dumps(definitions, indent=1) + "\n", **_server("rabbitmq", masters)},
        "mongodb": {
            "root-password": masters.database_root_password,
            "conclave-password": masters.database_password,
            "keyfile": masters.mongodb_keyfile,
            **_server("mongodb", masters),
        },
        "redis": {"redis.conf": f"requirepass {masters.redis_password}\n"},
        "backup": {"database-url": _database_url(masters, addresses), **_authority(masters)},
        "admin": {"admin-key": masters.admin_key},
    }


def _of_service(service: DeployedService, masters: Masters, addresses: Addresses) -> Files:
    files = {
        "rabbitmq-url": _rabbitmq_url(service.name, masters, addresses),
        "encryption.json": masters.encryption,
        **_message_keys(service.name, masters),
        **_authority(masters),
    }
    if addresses.redis:
        files["redis-url"] = with_login(addresses.redis, "", masters.redis_password, ("redis", "rediss"))
    if service.store:
        files["database-url"] = _database_url(masters, addresses)
    if service.api_keys:
        files["api-key-hash-key"] = masters.api_key_hash_key
    if service.name == "access":
        files["initial-admin-key"] = masters.admin_key
    return files


def _of_client(name: str, masters: Masters, addresses: Addresses) -> Files:
    return {
        "rabbitmq-url": _rabbitmq_url(name, masters, addresses),
        **_message_keys(name, masters),
        **_authority(masters),
    }


def _message_keys(name: str, masters: Masters) -> Files:
    private, trusted = private_path(masters.signing, name), trusted_path(masters.signing)
    return {private.name: private.read_text(encoding="utf-8"), TRUSTED: trusted.read_text(encoding="utf-8")}


def _rabbitmq_url(user: str, masters: Masters, addresses: Addresses) -> str:
    return with_login(addresses.rabbitmq, user, masters.rabbitmq[user], ("amqp", "amqps"))


def _database_url(masters: Masters, addresses: Addresses) -> str:
    schemes = ("mongodb", "mongodb+srv", "postgresql", "postgres")
    return with_login(addresses.database, DATABASE_USER, masters.database_password, schemes)


def _authority(masters: Masters) -> Files:
    return {"ca.crt": masters.certificates["ca"].certificate} if masters.certificates else {}


def _server(name: str, masters: Masters) -> Files:
    if name not in masters.certificates:
        return {}
    own = masters.certificates[name]
    return {"tls.crt": own.certificate, "tls.key": own.key, **_authority(masters)}
