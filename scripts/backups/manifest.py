"""What a backup says of itself: ``manifest.json`` in its folder."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from scripts.backups.order import READ_IN_THIS_ORDER

FORMAT: Final = 1
FILE: Final = "manifest.json"
MONGODB: Final = "mongodb"
POSTGRESQL: Final = "postgresql"
_OWN_HASH: Final = "sha256"
_ALWAYS_THERE: Final = ("headers", "log", "payloads", "definitions")  # in every version


class BackupError(Exception):
    """It is not done; the message says what is wrong, and where."""


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileFacts(_Said):
    """One file: the rows of one collection or table, compressed. ``bytes`` and ``sha256`` are of the file as it is;
    ``columns`` are those of a table, in the file's order."""

    file: str
    collection: str
    rows: int
    bytes: int
    sha256: str
    columns: tuple[str, ...] = ()


class Manifest(_Said):
    """``began_at`` and ``ended_at`` are epoch seconds: what was confirmed before it began is in the backup.

    ``files`` are in the order in which they were read. ``migrations`` are the versions of PostgreSQL's tables;
    ``behind_a_gap`` how many log entries were left out since the one before them was not seen; ``left_out`` what the
    database has beside the store's collections.
    """

    format: int
    conclave: str
    store: Literal["mongodb", "postgresql"]
    server: str
    database: str
    began_at: float
    ended_at: float
    files: tuple[FileFacts, ...]
    migrations: tuple[int, ...] = ()
    behind_a_gap: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.files)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.files)

    def of(self, collection: str) -> FileFacts:
        return next(one for one in self.files if one.collection == collection)


def written(manifest: Manifest) -> bytes:
    """As JSON, with the SHA-256 of what it says, so that not even the manifest can be altered by accident."""
    said = manifest.model_dump(mode="json")
    return (json.dumps({**said, _OWN_HASH: _hash_of(said)}, indent=1) + "\n").encode()


def read_manifest(folder: Path) -> Manifest:
    """
    Raises:
        BackupError: the folder is no backup, or one that this version cannot read.
    """
    path = folder / FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup, or an unfinished one: it has no {FILE}") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error}") from error
    try:
        said = json.loads(text)
        if isinstance(said, dict) and isinstance(said.get("format"), int) and said["format"] > FORMAT:
            newer = f"it has format {said['format']}, this Conclave reads {FORMAT}"
            raise BackupError(f"{folder} was made by a newer Conclave ({said.get('conclave')}): {newer}")
        own_hash = said.pop(_OWN_HASH, None) if isinstance(said, dict) else None
        manifest = Manifest.model_validate(said)
    except ValidationError as error:
        fault = error.errors()[0]
        raise BackupError(f"{path} is damaged: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except ValueError as error:
        raise BackupError(f"{path} is damaged: {error}") from None
    if own_hash != _hash_of(manifest.model_dump(mode="json")):
        raise BackupError(f"{path} is damaged: it does not say what was written")
    _check_files(path, manifest)
    return manifest


def _check_files(path: Path, manifest: Manifest) -> None:
    names = [one.collection for one in manifest.files]
    if unknown := [name for name in names if name not in READ_IN_THIS_ORDER]:
        what = f"it has {', '.join(unknown)}, of which this Conclave knows nothing"
        raise BackupError(f"{path.parent} was made by another version of Conclave ({manifest.conclave}): {what}")
    if missing := [name for name in _ALWAYS_THERE if name not in names]:
        raise BackupError(f"{path} is damaged: it names no file of {', '.join(missing)}")
    for one in manifest.files:
        if one.file != Path(one.file).name or one.file.startswith("."):
            raise BackupError(f"{path} is damaged: {one.file!r} is not the name of a file beside it")


def _hash_of(said: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
