"""Make one MongoDB server a replica set of one member, and give it the user that the services sign in as.

    python scripts/mongodb_setup.py --address mongodb:27017 --replica-set rs0

Only a replica set has majority writes. The server runs with ``--replSet`` and a key file, and its root user is made by
the image at its first start. To be run before the services, and again whenever the passwords may have changed: what is
as it is to be stays so. Passwords are read from files, ``root-password`` and ``conclave-password`` of --secrets.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError, ServerSelectionTimeoutError

SECRETS = Path("/run/secrets/conclave")
ROOT_PASSWORD, PASSWORD = "root-password", "conclave-password"  # nosec B105 (names of files)
PATIENCE = 120.0  # seconds
PAUSE = 0.5

# The server's names for what went wrong.
AUTHENTICATION_FAILED = 18
ALREADY_INITIALISED = 23
NOT_YET_INITIALISED = 94
USER_EXISTS = 51003
PASSING = (91, 189, 10107, 11600, 11602, 13435, 13436)  # it shuts down, or is no primary yet or any more

Client = MongoClient[dict[str, Any]]


class Failed(Exception):
    """It could not be done; the message says what and why."""


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    try:
        root_password, password = (_secret(given.secrets / name) for name in (ROOT_PASSWORD, PASSWORD))
        client: Client = MongoClient(
            f"mongodb://{given.address}/",
            username=given.root_user,
            password=root_password,
            authSource="admin",
            directConnection=True,
            serverSelectionTimeoutMS=2000,
        )
        with client:
            deadline = time.monotonic() + given.patience
            begun = set_up(client, given, password, deadline)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    what = "was made" if begun else "was there"
    print(f"{given.address}: replica set {given.replica_set} {what}; user {given.user} may use {given.database}")
    return 0


def set_up(client: Client, given: argparse.Namespace, password: str, deadline: float) -> bool:
    """Do all of it, and again where the server was not ready for it; whether the replica set was made now.

    Raises:
        Failed: it refuses, or was not ready before ``deadline`` (by the monotonic clock).
    """
    begun = False
    while True:
        try:
            begun = initiate(client, given.replica_set, given.address) or begun
            if not client.admin.command("hello").get("isWritablePrimary"):
                raise AutoReconnect(f"no primary of {given.replica_set} yet")
            give_user(client, given.user, password, given.database)
            return begun
        except OperationFailure as error:
            if error.code not in PASSING:
                raise Failed(_refused(error, given)) from error
            reason: PyMongoError = error
        except (AutoReconnect, ServerSelectionTimeoutError) as error:
            reason = error
        except PyMongoError as error:
            raise Failed(f"{given.address}: {error}") from error
        if time.monotonic() > deadline:
            raise Failed(f"{given.address} was not ready in {given.patience:.0f} s: {reason}") from reason
        time.sleep(PAUSE)


def initiate(client: Client, name: str, address: str) -> bool:
    """Begin the replica set with this server as its one member, called ``address``; False if it has begun already.

    Raises:
        Failed: it is a member of a set of another name, or is not called so there.
    """
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALISED:
            raise
    else:
        hosts = [member["host"] for member in config["members"]]
        if config["_id"] != name or address not in hosts:
            raise Failed(
                f"{address} belongs to the replica set {config['_id']!r} of {', '.join(hosts)}, not to {name!r}"
            )
        return False
    try:
        client.admin.command("replSetInitiate", {"_id": name, "members": [{"_id": 0, "host": address}]})
    except OperationFailure as error:
        if error.code != ALREADY_INITIALISED:  # by another of these scripts, between the two questions
            raise
        return False
    return True


def give_user(client: Client, user: str, password: str, database: str) -> None:
    """A user who may read and write one database and nothing else, with this password whatever it was before."""
    roles = [{"role": "readWrite", "db": database}]
    durably = {"w": "majority", "j": True}
    try:
        client.admin.command("createUser", user, pwd=password, roles=roles, writeConcern=durably)
    except OperationFailure as error:
        if error.code != USER_EXISTS:
            raise
        client.admin.command("updateUser", user, pwd=password, roles=roles, writeConcern=durably)


def _refused(error: OperationFailure, given: argparse.Namespace) -> str:
    if error.code == AUTHENTICATION_FAILED:
        return (
            f"{given.address} does not take the password of {given.root_user!r} in {given.secrets / ROOT_PASSWORD}. Its"
            " data remember the one they were begun with: put that there, or begin anew without the data"
        )
    return f"{given.address} refuses: {error}"


def _secret(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{path} cannot be read: {error}") from error
    if not text:
        raise Failed(f"{path} is empty; it is to hold a password")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mongodb_setup.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--address", default="mongodb:27017", metavar="HOST:PORT", help="as its clients reach it (mongodb:27017)")
    add("--replica-set", default="rs0", metavar="NAME", help="what its --replSet says (rs0)")
    add("--secrets", type=Path, default=SECRETS, metavar="FOLDER", help=f"where the passwords are ({SECRETS})")
    add("--root-user", default="root", metavar="NAME", help="who may do this (root)")
    add("--user", default="conclave", metavar="NAME", help="whom the services sign in as (conclave)")
    add("--database", default="conclave", metavar="NAME", help="which database they use (conclave)")
    add("--patience", type=float, default=PATIENCE, metavar="SECONDS", help=f"how long to wait for it ({PATIENCE:.0f})")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
