"""``python -m services audit verify``: whether the audit log is whole, and if not, which entry was altered, removed or
put in first. Works on the store alone, whether or not a service runs. Exit code 0: whole; 1: not; 2: could not tell."""

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from services.auditor.checkpoints import SIGNER
from services.auditor.findings import Report
from services.auditor.verifying import TrustedSigner, verify
from services.runtime.logs import configure_logging
from services.runtime.security.key_files import BadKeys, read_public, trusted_path
from services.runtime.security.principal import SenderKind
from services.runtime.settings import BadSettings, LogFormat, LogLevel, Settings, load_settings
from services.runtime.store.base import Store, StoreError
from services.runtime.store.open import open_store

_EXPECTED: Final = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
_SHOWN_EVERY: Final = 2.0  # seconds


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        # Standard output is for what was found.
        quiet = {"log_level": LogLevel.WARNING, "log_format": LogFormat.CONSOLE}
        configure_logging(settings.model_copy(update=quiet), SIGNER)
        signers = trusted_signers(options.trusted, settings)
        report = asyncio.run(_verified(open_store(settings), signers, dict(options.expect)))
    except (BadSettings, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(report.as_json(), indent=2) if options.json else "\n".join(report.lines()))
    return 0 if report.whole else 1


def trusted_signers(given: Path | None, settings: Settings) -> dict[str, TrustedSigner]:
    """The auditor's public keys, by id: of the file that was given, else of MESSAGE_KEYS if it is there.

    Raises:
        BadKeys: the file cannot be read, or the one that was given has no key of the auditor's.
    """
    path = given or trusted_path(settings.message_keys)
    if given is None and not path.exists():
        return {}
    signers = {
        entry.kid: TrustedSigner(entry.key, entry.exp)
        for entry in read_public(path)
        if entry.kind is SenderKind.SERVICE and entry.name == SIGNER
    }
    if given is not None and not signers:
        raise BadKeys(f"{path}: has no key of kind service with the name {SIGNER}")
    return signers


async def _verified(store: Store, signers: Mapping[str, TrustedSigner], expected: Mapping[int, str]) -> Report:
    await store.start()
    try:
        await store.ping()
        return await verify(store, signers, expected=expected, progress=_progress())
    finally:
        await store.stop()


def _progress() -> Callable[[int], None]:
    """Says on standard error how far it is, if it takes long."""
    shown_at = time.monotonic()

    def show(n: int) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= _SHOWN_EVERY:
            shown_at = time.monotonic()
            print(f"... {n:,} entries", file=sys.stderr, flush=True)

    return show


def _expectation(text: str) -> tuple[int, str]:
    found = _EXPECTED.fullmatch(text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"expected N:HASH, a number and 64 hexadecimal digits, not {text!r}")
    return int(found[1]), found[2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services audit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="verify")
    check = commands.add_parser("verify", help="say whether the log is whole", description=__doc__)
    check.add_argument(
        "--trusted",
        type=Path,
        metavar="FILE",
        help="JWK set with the auditor's public keys, the retired ones too; without it trusted.json in MESSAGE_KEYS",
    )
    check.add_argument(
        "--expect",
        type=_expectation,
        action="append",
        default=[],
        metavar="N:HASH",
        help="the hash that entry N must have, from a checkpoint that was kept elsewhere; may be given several times",
    )
    check.add_argument("--json", action="store_true", help="say it as JSON")
    return parser
