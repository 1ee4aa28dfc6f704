"""A set of one member as mongod begins one: no primary until replSetInitiate, and then the member that it named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secantus import commands

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

NOT_PRIMARY = {"ok": 0.0, "errmsg": "not primary", "code": 10107, "codeName": "NotWritablePrimary"}
NOT_INITIALISED = {
    "ok": 0.0,
    "errmsg": "no replset config has been received",
    "code": 94,
    "codeName": "NotYetInitialized",
}
INITIALISED = {"ok": 0.0, "errmsg": "already initialized", "code": 23, "codeName": "AlreadyInitialized"}
GREETINGS = ("hello", "isMaster", "ismaster")
OF_A_PRIMARY = (
    *("insert", "update", "delete", "findAndModify", "findandmodify", "bulkWrite", "create", "createIndexes"),
    *("createUser", "updateUser", "dropUser", "createRole", "drop", "dropDatabase", "collMod", "renameCollection"),
    *("find", "aggregate", "count", "distinct", "listCollections", "listDatabases", "listIndexes"),
)


def install(name: str, kept_in: Path) -> None:
    """Have the store answer as the member of the set ``name``; what it was initiated with is kept in a file."""
    handlers: dict[str, Handler] = commands._HANDLERS
    for greeting in GREETINGS:
        handlers[greeting] = _greeting(handlers[greeting], kept_in)
    for command in OF_A_PRIMARY:
        if command in handlers:
            handlers[command] = _of_a_primary(handlers[command], kept_in)
    handlers["replSetGetStatus"] = _status(handlers["replSetGetStatus"], kept_in)
    handlers["replSetInitiate"] = _initiate(name, kept_in)
    handlers["replSetGetConfig"] = _get_config(kept_in)


def _member(kept_in: Path) -> tuple[str, int] | None:
    """Host and port that the set's one member has for its clients, or None before the set was initiated."""
    if not kept_in.exists():
        return None
    host, _, port = json.loads(kept_in.read_text(encoding="utf-8"))["members"][0]["host"].rpartition(":")
    return host, int(port)


def _greeting(original: Handler, kept_in: Path) -> Handler:
    def hello(command: dict[str, Any], context: Any) -> dict[str, Any]:
        context.server_address = _member(kept_in)
        answer = original(command, context)
        if context.server_address is None:
            # Without a topologyVersion, drivers ask again instead of waiting for a change to be pushed.
            answer.pop("topologyVersion", None)
            answer |= {"isWritablePrimary": False, "ismaster": False, "secondary": False, "isreplicaset": True}
            answer["info"] = "Does not have a valid replica set config"
        return answer

    return hello


def _of_a_primary(original: Handler, kept_in: Path) -> Handler:
    def command(asked: dict[str, Any], context: Any) -> dict[str, Any]:
        return original(asked, context) if kept_in.exists() else dict(NOT_PRIMARY)

    return command


def _status(original: Handler, kept_in: Path) -> Handler:
    def status(command: dict[str, Any], context: Any) -> dict[str, Any]:
        context.server_address = _member(kept_in)
        return dict(NOT_INITIALISED) if context.server_address is None else original(command, context)

    return status


def _initiate(name: str, kept_in: Path) -> Handler:
    def initiate(command: dict[str, Any], _context: Any) -> dict[str, Any]:
        if kept_in.exists():
            return dict(INITIALISED)
        config = command["replSetInitiate"] or {"_id": name, "members": [{"_id": 0, "host": "localhost:27017"}]}
        problem = _wrong(config, name)
        if problem:
            return {"ok": 0.0, "errmsg": problem, "code": 93, "codeName": "InvalidReplicaSetConfig"}
        members = [{"_id": int(config["members"][0]["_id"]), "host": config["members"][0]["host"]}]
        scratch = kept_in.with_suffix(".new")
        scratch.write_text(json.dumps({"_id": name, "version": 1, "members": members}), encoding="utf-8")
        scratch.replace(kept_in)
        return {"ok": 1.0}

    return initiate


def _wrong(config: dict[str, Any], name: str) -> str | None:
    members = config.get("members") or []
    if config.get("_id") != name:
        return (
            f"Attempting to initiate a replica set with name {config.get('_id')}, but command line reports {name}; "
            "rejecting"
        )
    if len(members) != 1 or not str(members[0].get("host", "")).rpartition(":")[2].isdigit():
        return "this stand-in is a set of one member, whose host is HOST:PORT"
    return None


def _get_config(kept_in: Path) -> Handler:
    def get_config(_command: dict[str, Any], _context: Any) -> dict[str, Any]:
        if not kept_in.exists():
            return dict(NOT_INITIALISED)
        return {"config": json.loads(kept_in.read_text(encoding="utf-8")), "ok": 1.0}

    return get_config
