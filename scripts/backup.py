"""Back up the store that DATABASE_URL names, MongoDB or PostgreSQL, while the system runs; and restore it.

    python scripts/backup.py create FOLDER --keep 14
    python scripts/backup.py list FOLDER
    python scripts/backup.py verify FOLDER/conclave-20260102T030405Z
    python scripts/backup.py restore FOLDER/conclave-20260102T030405Z

A backup is a folder of compressed files and a manifest, which only its owner can read. What is encrypted in the store
is encrypted in it. Keys and passwords (MESSAGE_KEYS, ENCRYPTION_KEYS, API_KEY_HASH_KEY) are not in it: keep them apart.

A restore goes into an empty database only, with no service running and an empty broker. docs/backup.md says how, and
why a backup is consistent. Exit code 0: done; 1: not, and why; 2: a bad argument or setting.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from contracts.audit import AuditRecord, AuditResult
from scripts.backups import mongodb as backup_mongodb
from scripts.backups import postgres as backup_postgres
from scripts.backups.files import check_files
from scripts.backups.folder import backups_in, complete, locked, new_backup, remove_oldest, unfinished_in
from scripts.backups.manifest import FORMAT, MONGODB, POSTGRESQL, BackupError, Manifest, read_manifest
from scripts.backups.order import Progress, unheard
from services.access.keys_command import actor
from services.runtime.audit_chain import append_records
from services.runtime.logs import configure_logging
from services.runtime.settings import POSTGRES_SCHEMES, BadSettings, LogFormat, LogLevel, Mode, Settings, load_settings
from services.runtime.store.base import StoreError
from services.runtime.store.open import open_store
from services.runtime.version import own_version

RESTORED: Final = "store.restored"
"""The action under which a restore is in the audit log."""

_SECONDS_BETWEEN_WORDS: Final = 2.0


def create(settings: Settings, folder: Path, *, keep: int | None = None, progress: Progress = unheard) -> Path:
    """Write a backup of the store into a folder of its own in ``folder``, which is returned; then remove all but the
    last ``keep`` backups there.

    Raises:
        BackupError, StoreError: nothing is written.
    """
    with locked(folder):
        began_at = time.time()
        with new_backup(folder, began_at) as (work, place):
            complete(work, place, _written(settings, work, began_at, progress))
        if keep is not None:
            remove_oldest(folder, keep)
    return place


def restore(settings: Settings, backup: Path, *, progress: Progress = unheard) -> tuple[Manifest, int]:
    """Write a backup into the empty database that the settings name, and say so in its audit log; returns the manifest
    and how many executions had no header in it.

    Raises:
        BackupError, StoreError: it is not done. A database of PostgreSQL is as it was; in one of MongoDB there may be
            something, unless it was the backup or the database that was refused.
    """
    manifest = read_manifest(backup)
    if manifest.store != _kind(settings):
        raise BackupError(f"{backup} is a backup of {manifest.store}, and DATABASE_URL names {_kind(settings)}")
    restored_at = time.time()

    def checking(collection: str, rows: int) -> None:
        progress(f"checking {collection}", rows)

    if manifest.store == MONGODB:
        backup_mongodb.check_empty(settings)
        check_files(backup, manifest, checking)
        asyncio.run(_prepared(settings))
        added = backup_mongodb.read_files(settings, backup, manifest, restored_at, progress)
    else:
        asyncio.run(backup_postgres.check_empty(settings, manifest))
        check_files(backup, manifest, checking)
        added = asyncio.run(backup_postgres.read_files(settings, backup, manifest, restored_at, progress))
    record = AuditRecord(
        id=f"restore/{backup.name}/{restored_at!r}"[:300],
        at=restored_at,
        actor=actor(),
        action=RESTORED,
        subject=backup.name[:300],
        source="scripts/backup.py",
        result=AuditResult.DONE,
        detail=f"of {_shown(manifest.began_at)}: what came after it is not in the store, nor in this log",
    )
    try:
        asyncio.run(_prepared(settings, record))
    except StoreError as error:
        raise BackupError(f"everything is restored, but that it was is not in the audit log: {error}") from error
    return manifest, added


def verify(backup: Path, *, progress: Progress = unheard) -> Manifest:
    """Compare a backup's files with its manifest; needs no database.

    Raises:
        BackupError: naming everything that is missing or damaged.
    """
    manifest = read_manifest(backup)
    check_files(backup, manifest, progress)
    return manifest


def another_database(settings: Settings, name: str) -> Settings:
    """The same server and user, another database."""
    parts = urlsplit(settings.database_url)
    query = parts.query
    if parts.scheme == "mongodb" and parts.username and "authsource=" not in query.lower():
        # Who logs in is looked for in the URL's database, unless this says otherwise.
        query += ("&" if query else "") + urlencode({"authSource": parts.path.strip("/") or "admin"})
    url = parts._replace(path="/" + quote(name, safe=""), query=query).geturl()
    return settings.model_copy(update={"database_url": url})


# ---- within


def _kind(settings: Settings) -> str:
    return POSTGRESQL if urlsplit(settings.database_url).scheme in POSTGRES_SCHEMES else MONGODB


def _written(settings: Settings, work: Path, began_at: float, progress: Progress) -> Manifest:
    gaps, migrations = 0, tuple[int, ...]()
    if _kind(settings) == MONGODB:
        server, files, gaps, others = backup_mongodb.write_files(settings, work, progress)
    else:
        server, files, migrations, others = asyncio.run(backup_postgres.write_files(settings, work, progress))
    return Manifest(
        format=FORMAT,
        conclave=own_version(),
        store=_kind(settings),
        server=server,
        database=settings.get_database_config()["database"],
        began_at=began_at,
        ended_at=time.time(),
        files=files,
        migrations=migrations,
        behind_a_gap=gaps,
        left_out=others,
    )


async def _prepared(settings: Settings, record: AuditRecord | None = None) -> None:
    """Have the store make what it needs, as a service does at its start: collections, indexes, later tables."""
    # Neither needs the keys, which may be elsewhere: what is made is empty, and the audit log is never encrypted.
    store = open_store(settings.model_copy(update={"message_encryption": Mode.OFF}))
    await store.start()
    try:
        await store.ping()
        if record is not None:
            await append_records(store, [record], only_new=True)
    finally:
        await store.stop()


# ---- the command


def main(arguments: Sequence[str]) -> int:
    options = parsed(arguments)
    try:
        return int(options.run(options))
    except BadSettings as error:
        print(f"backup: {error}", file=sys.stderr)
        return 2
    except (BackupError, StoreError, OSError) as error:
        print(f"backup: {error}", file=sys.stderr)
        return 1


def _create(options: argparse.Namespace) -> int:
    place = create(load_settings(), options.folder, keep=options.keep, progress=_Words(options.quiet))
    manifest = read_manifest(place)
    print(f"{place}\n{_summary(manifest)}")
    if manifest.behind_a_gap:
        print(f"{manifest.behind_a_gap:,} log entries of the time of the backup are not in it")
    if manifest.left_out:
        print(f"not the store's, and not in it: {', '.join(manifest.left_out)}")
    return 0


def _restore(options: argparse.Namespace) -> int:
    settings = load_settings()
    if options.into is not None:
        settings = another_database(settings, options.into)
    database = settings.get_database_config()["database"]
    try:
        manifest, added = restore(settings, options.backup, progress=_Words(options.quiet))
    except BackupError as error:
        if "is not empty" in str(error):
            raise BackupError(
                f"{error}\nA restore goes into an empty database only. Name another with --into NAME (and then in the"
                " DATABASE_URL of every service), or drop this one first, if nothing in it is needed any more."
            ) from None
        raise
    print(f"restored into database {database}: {_summary(manifest)}")
    if added:
        print(f"{added:,} executions had just begun, and are shown as (restored) until an orchestrator has run")
    print("Start the services now: executions that had not ended go on at once. The broker has to be empty.")
    return 0


def _verify(options: argparse.Namespace) -> int:
    print(f"whole: {_summary(verify(options.backup, progress=_Words(options.quiet)))}")
    return 0


def _list(options: argparse.Namespace) -> int:
    for path in backups_in(options.folder):
        try:
            print(f"{path.name}  {_summary(read_manifest(path))}")
        except BackupError as error:
            print(f"{path.name}  cannot be used: {error}")
    for path in unfinished_in(options.folder):
        print(f"{path.name}  being written, or left behind")
    return 0


def _summary(manifest: Manifest) -> str:
    of = f"{manifest.store} {manifest.database}, Conclave {manifest.conclave}"
    return f"{_shown(manifest.began_at)}, {manifest.rows:,} rows, {manifest.bytes / 1e6:,.1f} MB, {of}"


def _shown(epoch_seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch_seconds))


class _Words:
    """Says on standard error which collection it is at, and how far, every now and then."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._at = ""
        self._said_at = 0.0

    def __call__(self, collection: str, rows: int) -> None:
        new = rows == 0 and collection != self._at
        if self._quiet or not (new or time.monotonic() - self._said_at >= _SECONDS_BETWEEN_WORDS):
            return
        self._at, self._said_at = collection, time.monotonic()
        with contextlib.suppress(OSError):
            print(f"... {collection}" + (f": {rows:,}" if rows else ""), file=sys.stderr, flush=True)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line: ``command``, and what that takes."""
    parser = argparse.ArgumentParser(
        prog="backup.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|restore|verify|list")

    def command(name: str, run: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=what)
        made.set_defaults(run=run)
        return made

    made = command("create", _create, "write a backup of the store")
    made.add_argument("folder", type=Path, help="where backups are kept; each gets a folder of its own in it")
    made.add_argument("--keep", type=_at_least_one, metavar="N", help="then remove all but the last N backups there")
    made.add_argument("--quiet", action="store_true", help="say nothing of how far it is")

    made = command("restore", _restore, "write a backup into an empty database")
    made.add_argument("backup", type=Path, help="the folder of the backup")
    made.add_argument("--into", metavar="NAME", help="into this database of the server that DATABASE_URL names")
    made.add_argument("--quiet", action="store_true", help="say nothing of how far it is")

    made = command("verify", _verify, "compare a backup's files with its manifest; needs no database")
    made.add_argument("backup", type=Path, help="the folder of the backup")
    made.add_argument("--quiet", action="store_true", help="say nothing of how far it is")

    command("list", _list, "the backups in a folder, oldest first").add_argument("folder", type=Path)
    return parser.parse_args(arguments)


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, not {text!r}")
    return int(text)


if __name__ == "__main__":
    configure_logging(Settings.model_construct(log_level=LogLevel.WARNING, log_format=LogFormat.CONSOLE), "backup")
    raise SystemExit(main(sys.argv[1:]))
