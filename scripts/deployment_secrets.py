"""Make the secrets of an installation, and hand each part of it those that it needs and no others.

    python scripts/deployment_secrets.py .conclave/deployment
    python scripts/deployment_secrets.py .conclave/deployment --kubernetes conclave --tls | kubectl apply -f -

The folder gets ``master/``, the secrets themselves, of which only those are made that are missing; and a folder each
for the services, programs that publish themselves (``client``), the servers, and whoever administers the API
(``admin``), with the files that it reads. What was changed in ``master/`` (message keys, say, with
``MESSAGE_KEYS=FOLDER/master/signing python -m services message-keys ...``) reaches them when this is run again.

--kubernetes prints Secrets for that namespace instead of making the folders of the others. --tls makes an authority and
certificates for RabbitMQ and MongoDB, and renews those that end soon.
"""

import argparse
import fcntl
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.deployed_services import deployed_services
from scripts.deployment.holders import Addresses, BadAddress, Files, files_of_holders
from scripts.deployment.manifests import secrets_of
from scripts.deployment.masters import masters_in
from scripts.rabbitmq_permissions import CLIENTS, broker_of
from scripts.rabbitmq_users import Failed, add_options_of_broker, agent_services_of, renewed_of
from scripts.secret_files import UnsafeSecret, write_secret
from services.runtime.security.policy import open_policy
from services.runtime.settings import BadSettings

RABBITMQ_URL, RABBITMQ_TLS_URL = "amqp://rabbitmq:5672/", "amqps://rabbitmq:5671/"
MONGODB_URL = "mongodb://mongodb:27017/conclave?replicaSet=rs0&authSource=admin"
MONGODB_MEMBERS = 3


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    try:
        with _turn(given.folder):
            made = _make(given)
    except (UnsafeSecret, BadAddress, BadSettings, Failed, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(made)
    return 0


def tls_hosts(namespace: str) -> dict[str, list[str]]:
    """The names by which clients and the other members reach the servers that the operators make in a namespace."""

    def inside(service: str) -> list[str]:
        return [
            service,
            f"{service}.{namespace}",
            f"{service}.{namespace}.svc",
            f"{service}.{namespace}.svc.cluster.local",
        ]

    return {
        "rabbitmq": [*inside("rabbitmq"), *(f"*.{name}" for name in inside("rabbitmq-nodes"))],
        "mongodb": [*inside("mongodb-svc"), *(f"*.{name}" for name in inside("mongodb-svc"))],
    }


def database_url(namespace: str) -> str:
    """Of the replica set that the operator makes."""
    members = ",".join(f"mongodb-{i}.mongodb-svc.{namespace}.svc.cluster.local:27017" for i in range(MONGODB_MEMBERS))
    return f"mongodb://{members}/conclave?replicaSet=mongodb&authSource=admin&tls=true"


def _make(given: argparse.Namespace) -> str:
    """What is to be printed."""
    services = deployed_services()
    clients = given.client or list(CLIENTS)
    agent_services = agent_services_of(given.agents)
    broker = broker_of(agent_services, clients, open_policy(given.policy))
    namespace = given.kubernetes
    masters = masters_in(
        given.folder / "master",
        list(broker.users),
        agent_services,
        clients,
        tls_hosts=tls_hosts(namespace or "conclave") if given.tls else None,
        renewed=renewed_of(broker, given.renew),
    )
    addresses = Addresses(
        rabbitmq=given.rabbitmq_url or (RABBITMQ_TLS_URL if given.tls else RABBITMQ_URL),
        database=given.database_url or (database_url(namespace) if namespace and given.tls else MONGODB_URL),
        redis=given.redis_url,
    )
    holders = files_of_holders(masters, broker, addresses, services, clients)
    if namespace:
        secrets = secrets_of(masters, holders, list(services), clients, namespace)
        return "\n".join(f"---\n{json.dumps(secret)}" for secret in secrets)
    changed = write_folders(given.folder, holders, _owners(given, holders, list(services)))
    return f"{given.folder}: the secrets of {len(holders)} holders are there, {changed} files were written"


def write_folders(folder: Path, holders: Mapping[str, Files], owners: Mapping[str, int]) -> int:
    """A folder each, which only its owner may enter; returns how many files were not as they are to be. Files that are
    none of the holder's any more are removed."""
    # Whoever has a folder in here may pass through to it, and see nothing else.
    folder.chmod(0o711)
    changed = 0
    for holder, files in holders.items():
        own, owner = folder / holder, owners.get(holder)
        _make_folder(own)
        for name, content in files.items():
            path = own / name
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                write_secret(path, content, owner=owner)
                changed += 1
        for left in [path for path in own.iterdir() if path.name not in files]:
            left.unlink()
            changed += 1
        if owner is not None:
            # Its owner may put anything in it at any moment, and is not to be given what a link leads to.
            for path in (own, *own.iterdir()):
                os.chown(path, owner, owner, follow_symlinks=False)
    return changed


def _make_folder(own: Path) -> None:
    # Elsewhere, what is none of the holder's would be removed.
    if own.is_symlink():
        raise UnsafeSecret(f"{own} is a link, and a folder is expected: remove it")
    own.mkdir(mode=0o700, exist_ok=True)
    # Docker makes what it is to mount, and anybody may enter that.
    if stat.S_IMODE(own.stat().st_mode) != 0o700:
        own.chmod(0o700)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One at a time: two who both find a secret missing would make two, and hand out both."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _owners(given: argparse.Namespace, holders: Mapping[str, Files], services: Sequence[str]) -> dict[str, int]:
    owners = {} if given.services_owner is None else dict.fromkeys(services, given.services_owner)
    for text in given.owner:
        holder, equals, owner = text.partition("=")
        if not equals or holder not in holders:
            raise Failed(f"--owner {text}: expected HOLDER=UID, or HOLDER=PATH, with one of {', '.join(holders)}")
        owners[holder] = int(owner) if owner.isdigit() else Path(owner).stat().st_uid
    return owners


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deployment_secrets.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="where they are kept, such as .conclave/deployment")
    add("--kubernetes", metavar="NAMESPACE", help="print Secrets for kubectl")
    add("--tls", action="store_true", help="make certificates, and addresses with TLS")
    add("--rabbitmq-url", metavar="URL", help=f"without user and password ({RABBITMQ_URL})")
    add("--database-url", metavar="URL", help=f"MongoDB or PostgreSQL, without user and password ({MONGODB_URL})")
    add("--redis-url", default="", metavar="URL", help="without user and password; none by default")
    add_options_of_broker(parser)
    add("--renew", action="append", default=[], metavar="USER", help="give a RabbitMQ user, or all, a new password")
    add("--services-owner", type=int, metavar="UID", help="who the services run as, and is given their folders")
    add("--owner", action="append", default=[], metavar="HOLDER=UID", help="who is given a folder; a path: its owner")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
