"""The folder that backups are in: each in a folder of its own, which is there when it is whole and not before."""

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.backups.files import OWNER_ONLY
from scripts.backups.manifest import FILE, BackupError, Manifest, read_manifest, written

_NAME: Final = re.compile(r"conclave-[0-9]{8}T[0-9]{6}Z(-[0-9]+)?")
_UNFINISHED: Final = ".unfinished"
_LOCK: Final = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While this is held nobody else writes backups there; what those left behind that were killed is removed.

    Raises:
        BackupError: somebody else is at it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
    except OSError as error:
        raise BackupError(f"backups cannot be written to {folder}: {error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise BackupError(f"another backup is being written to {folder}") from None
            raise BackupError(f"{folder} is on a file system without locks (flock): {error}") from error
        for left in unfinished_in(folder):
            shutil.rmtree(left)
        yield
    finally:
        os.close(lock)


@contextmanager
def new_backup(folder: Path, began_at: float) -> Iterator[tuple[Path, Path]]:
    """Where to write a backup, and where it will be once ``complete`` has been called; else nothing stays of it."""
    place = _free_name(folder, began_at)
    work = folder / f"{place.name}{_UNFINISHED}"
    try:
        work.mkdir(mode=0o700)
        yield work, place
    finally:
        if work.exists():
            shutil.rmtree(work)


def complete(work: Path, place: Path, manifest: Manifest) -> None:
    """Write the manifest, and put the backup in its place."""
    descriptor = os.open(work / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(written(manifest))
        file.flush()
        os.fsync(file.fileno())
    _sync(work)
    work.rename(place)
    _sync(place.parent)


def backups_in(folder: Path) -> list[Path]:
    """Those that are whole as far as their names say, oldest first."""
    return sorted(path for path in _entries(folder) if path.is_dir() and _NAME.fullmatch(path.name))


def unfinished_in(folder: Path) -> list[Path]:
    """What is being written, or was when somebody was killed."""
    open_ones = (path for path in _entries(folder) if path.name.endswith(_UNFINISHED))
    return [path for path in open_ones if _NAME.fullmatch(path.name.removesuffix(_UNFINISHED))]


def remove_oldest(folder: Path, keep: int) -> list[Path]:
    """Remove all but so many (1 or more) of the backups that can be read; returns what was removed. What cannot be read
    is neither counted nor removed."""
    readable = []
    for path in backups_in(folder):
        try:
            read_manifest(path)
        except BackupError:
            continue
        readable.append(path)
    removed = readable[:-keep]
    for path in removed:
        # The manifest first: what is half removed is no backup any more.
        (path / FILE).unlink()
        shutil.rmtree(path)
    return removed


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise BackupError(f"{folder} cannot be read: {error}") from error


def _free_name(folder: Path, began_at: float) -> Path:
    name = time.strftime("conclave-%Y%m%dT%H%M%SZ", time.gmtime(began_at))
    place, more = folder / name, 1
    while place.exists():
        more += 1
        place = folder / f"{name}-{more}"
    return place


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
