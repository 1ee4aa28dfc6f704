"""``python -m services encryption-keys create | rotate | list | retire KID``: the keys of ENCRYPTION_KEYS.

create   makes the file with a first key
rotate   adds a key, which encrypts from now on, or after --after seconds; the others go on to decrypt
list     shows the keys, without their secrets
retire   removes a key; what was encrypted with it can never be read again
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.runtime.security.encryption_keys import (
    BadEncryptionKeys,
    EncryptionKey,
    encrypting,
    new_key,
    newest_first,
    read_encryption_keys,
    write_encryption_keys,
)
from services.runtime.settings import BadSettings, load_settings

_LOST = (
    "inputs, outputs, errors, definitions, agents' configurations and dead letters that were stored, and messages still"
    " in a queue"
)


def main(arguments: list[str], clock: Callable[[], float] = time.time) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services encryption-keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("create", help="make the file with a first key")
    rotating = commands.add_parser("rotate", help="add a key that encrypts from now on")
    rotating.add_argument(
        "--after",
        type=_seconds,
        default=0,
        metavar="SECONDS",
        help="it encrypts only then: as long as the file takes to reach every service",
    )
    commands.add_parser("list", help="show the keys, without their secrets")
    retiring = commands.add_parser("retire", help="remove a key")
    retiring.add_argument("kid", help="its id, as list shows it")
    retiring.add_argument("--yes", action="store_true", help="do it, and not only say what becomes unreadable")
    asked = parser.parse_args(arguments)
    try:
        path, now = load_settings().encryption_keys, clock()
        match asked.command:
            case "create":
                return _create(path, now)
            case "rotate":
                return _rotate(path, now, asked.after)
            case "list":
                return _list(path, now)
            case _:
                return _retire(path, now, asked.kid, sure=asked.yes)
    except BadSettings as error:
        print(error, file=sys.stderr)
        return 2


def _create(path: Path, now: float) -> int:
    if path.exists():
        raise BadEncryptionKeys(f"{path} is there already; `encryption-keys rotate` adds a key to it")
    key = new_key(int(now))
    write_encryption_keys(path, [key])
    print(f"{path} is made, with the key {key.kid}. Keep a copy: without it, nothing encrypted can be read.")
    return 0


def _rotate(path: Path, now: float, after: int) -> int:
    keys = read_encryption_keys(path)
    key = new_key(int(now) + after)
    write_encryption_keys(path, [*keys, key])
    when = f"from {_time(key.iat)} on" if after else "from now on"
    print(f"{key.kid} is added, and encrypts {when}. {len(keys)} older can still decrypt. Keep a copy of {path}.")
    return 0


def _list(path: Path, now: float) -> int:
    keys = read_encryption_keys(path)
    current = encrypting(keys, now)
    print(f"{path}:")
    for key in newest_first(keys):
        use = "encrypts and decrypts" if key is current else "decrypts"
        if key.iat > now:
            use = f"decrypts; encrypts from {_time(key.iat)} on"
        until = "" if key.exp is None else f", encrypts until {_time(key.exp)}"
        print(f"  {key.kid}  made {_time(key.iat)}{until}: {use}")
    if current is None:
        print("none of them may encrypt now: `encryption-keys rotate` adds one")
    return 0


def _retire(path: Path, now: float, kid: str, *, sure: bool) -> int:
    keys = read_encryption_keys(path)
    key = next((key for key in keys if key.kid == kid), None)
    if key is None:
        raise BadEncryptionKeys(f"{path} has no key {kid}; it has {', '.join(key.kid for key in newest_first(keys))}")
    rest = [other for other in keys if other is not key]
    if key is newest_first(keys)[0] or encrypting(rest, now) is None or key is encrypting(keys, now):
        raise BadEncryptionKeys(f"{kid} is the key that encrypts; `encryption-keys rotate` first")
    print(f"Without {kid} nothing can be read that was encrypted with it, {_span(key, keys)}: {_LOST}.")
    if not sure:
        print("Nothing is done yet: --yes removes the key.")
        return 1
    write_encryption_keys(path, rest)
    print(f"{kid} is removed from {path}. A copy of it can be put back.")
    return 0


def _span(key: EncryptionKey, keys: Sequence[EncryptionKey]) -> str:
    later = [other.iat for other in keys if other.iat > key.iat]
    ends = [*later, *([] if key.exp is None else [key.exp])]
    return f"from {_time(key.iat)} on" + (f" until {_time(min(ends))}" if ends else "")


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _seconds(text: str) -> int:
    seconds = int(text)
    if not 0 <= seconds <= 30 * 86_400:
        raise ValueError
    return seconds


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
