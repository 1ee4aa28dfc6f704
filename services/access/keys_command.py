"""``python -m services keys``: API keys, straight on the store that the settings name. It needs no bus and no running
service, so it also works where nobody can sign in any more."""

import argparse
import asyncio
import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence

from contracts.access import CreateApiKey, RevokeApiKey, Role, RotateApiKey
from contracts.audit import AuditRecord, AuditResult
from contracts.envelope import Message, new_id
from services.access.durations import BadDuration
from services.access.key_decisions import KeyRefused
from services.access.keys_doing import CannotDo, Doing, Done
from services.runtime.audit_chain import append_records
from services.runtime.logs import configure_logging
from services.runtime.settings import BadSettings, LogFormat, LogLevel, Settings, load_settings
from services.runtime.store.base import Store, StoreError, StoreUnavailable
from services.runtime.store.open import open_store

SOURCE = "python -m services keys"
_RECORDED: dict[str, type[Message]] = {"create": CreateApiKey, "rotate": RotateApiKey, "revoke": RevokeApiKey}


def main(arguments: Sequence[str]) -> int:
    """0: done. 1: refused, or the store is away. 2: a bad argument or setting."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        _log_to_standard_error(settings)
        asyncio.run(_run(settings, options))
    except (BadSettings, BadDuration) as error:
        return _failed(error, 2)
    except StoreUnavailable as error:
        return _failed(f"the store that DATABASE_URL names does not answer: {error}", 1)
    except (CannotDo, KeyRefused, StoreError) as error:
        return _failed(error, 1)
    return 0


def _log_to_standard_error(settings: Settings) -> None:
    """And what matters only: standard output is for the answer."""
    quiet = {"log_level": LogLevel.WARNING, "log_format": LogFormat.CONSOLE}
    configure_logging(settings.model_copy(update=quiet), "keys")


async def _run(settings: Settings, options: argparse.Namespace) -> None:
    store = open_store(settings)
    await store.start()
    try:
        await store.ping()
        await carry_out(store, settings, options)
    finally:
        await store.stop()


async def carry_out(
    store: Store, settings: Settings, options: argparse.Namespace, say: Callable[[str], None] = print
) -> None:
    """Do it, say what came of it, and write that into the audit log.

    Raises:
        BadSettings, BadDuration, CannotDo, KeyRefused, StoreError: it is not done; or CannotDo: it is not recorded.
    """
    by = actor()
    doing = Doing(store, settings.api_key_hash_key.get_secret_value(), by)
    try:
        done: Done = await getattr(doing, options.command)(options)
    except KeyRefused as refusal:
        refused = refusal.refused
        await _record(store, _record_of(options.command, by, refused.subject, AuditResult.REFUSED, refused.message))
        raise
    say(done.text)  # before anything else can fail: a new key is nowhere else
    if options.command in _RECORDED:
        await _record(store, _record_of(options.command, by, done.subject, AuditResult.DONE, done.detail))


def actor() -> str:
    """Who gives the command, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return f"cli:{user}@{socket.gethostname()}"[:300]


def _record_of(command: str, by: str, subject: str, result: AuditResult, detail: str) -> AuditRecord:
    return AuditRecord(
        id=f"keys/{new_id()}",
        at=time.time(),
        actor=by,
        action=_RECORDED[command].TYPE,
        subject=subject[:300],
        source=SOURCE,
        result=result,
        detail=detail[:1_000],
    )


async def _record(store: Store, record: AuditRecord) -> None:
    try:
        await append_records(store, [record])
    except StoreError as error:
        raise CannotDo(
            f"{record.action} of {record.subject} is {record.result.value}, but not in the audit log: {error}"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|list|rotate|revoke")

    create = commands.add_parser("create", help="make a key and print it, this once")
    create.add_argument("name", help="whom it is for: letters, digits, . _ @ and -")
    create.add_argument("--role", required=True, choices=[role.value for role in Role])
    create.add_argument("--expires-in", metavar="TIME", help="for example 12h or 30d; without it, it does not expire")
    create.add_argument("--rate-limit", type=int, metavar="N", help="requests a minute, instead of RATE_LIMIT")

    commands.add_parser("list", help="every key there is or was, without its secret")

    rotate = commands.add_parser("rotate", help="make a key that takes the place of another, and print it, this once")
    rotate.add_argument("id", help="ck_ and 12 characters")
    rotate.add_argument(
        "--overlap", metavar="TIME", default="24h", help="how long the old key is valid beside it (24h)"
    )
    rotate.add_argument(
        "--expires-in", metavar="TIME", help="of the new key; without it, as long as the old one's life"
    )

    revoke = commands.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("id", help="ck_ and 12 characters")
    revoke.add_argument("--force", action="store_true", help="even if it is the last valid admin key")

    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _failed(error: object, code: int) -> int:
    print(f"keys: {error}", file=sys.stderr)
    return code
