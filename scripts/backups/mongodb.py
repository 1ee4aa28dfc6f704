"""A store in MongoDB, or what speaks its protocol: its collections as BSON, read while they are written to.

There is no snapshot of the whole: what makes a backup consistent is the order in which it is read
(``scripts.backups.order``). Reads are of majority-committed state from the primary, as the store's own are.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bson import CodecOptions, decode
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from contracts.history import ExecutionStatus, Header, wake_of_restored
from scripts.backups.files import RowsFile, documents_of, rows_file
from scripts.backups.manifest import BackupError, FileFacts, Manifest
from scripts.backups.order import PLACEHOLDER, READ_IN_THIS_ORDER, Progress
from services.runtime.settings import Settings
from services.runtime.store.documents import Document, header_document
from services.runtime.store.mongo_errors import translated
from services.runtime.store.mongo_tls import driver_options
from services.runtime.tls import mongo_files

_READ_AT_ONCE: Final = 1_000  # documents
_WRITTEN_AT_ONCE: Final = 1_000
_BYTES_AT_ONCE: Final = 16 * 1024 * 1024
_IDS_PER_FIND: Final = 64  # as the store asks: the embedded one compares each document with each id
_RAW: Final = CodecOptions(document_class=RawBSONDocument)

Read = tuple[str, tuple[FileFacts, ...], int, tuple[str, ...]]
"""The server's version, the files, how many entries were left out behind a gap, other collections."""


def write_files(settings: Settings, folder: Path, progress: Progress) -> Read:
    """Read every collection of the store into a file of this folder.

    Raises:
        StoreError: as the store says.
    """
    with _opened(settings) as database, translated("back up"):
        there = _collections(database)
        if not set(READ_IN_THIS_ORDER) & set(there):
            raise BackupError(f"database {database.name} has none of the store's collections: is it the right one?")
        server = str(database.client.server_info()["version"])
        facts, left_out = [], 0
        # A new primary may for a moment not know yet what is committed: it waits until it does, as its answers follow
        # those of the one before.
        with database.client.start_session(causal_consistency=True) as session:
            for name in READ_IN_THIS_ORDER:
                progress(name, 0)
                with rows_file(folder, f"{name}.bson.gz", name) as file:
                    left_out += _Reading(database, name, session, progress).into(file)
                    facts.append(file.finish())
        others = tuple(name for name in there if name not in READ_IN_THIS_ORDER)
    return server, tuple(facts), left_out, others


def check_empty(settings: Settings) -> None:
    """
    Raises:
        BackupError: there are documents in the database.
        StoreError: as the store says.
    """
    with _opened(settings) as database, translated("look into the database"):
        found = [name for name in _collections(database) if database[name].find_one({}, ["_id"]) is not None]
        if found:
            counts = ", ".join(f"{name} {database[name].estimated_document_count():,}" for name in found)
            raise BackupError(f"database {database.name} is not empty: it has documents in {counts}")


def read_files(settings: Settings, folder: Path, manifest: Manifest, restored_at: float, progress: Progress) -> int:
    """Write what a backup has into a database whose collections and indexes are there, and empty; returns how many
    headers were made for executions that had none in the backup.

    Raises:
        BackupError: a file is damaged; or the database does not have all of it in the end.
        StoreError: as the store says.
    """
    with _opened(settings) as database, translated("restore"):
        for facts in reversed(manifest.files):
            name = facts.collection
            progress(name, 0)
            documents: Iterable[Any] = map(_raw, documents_of(folder / facts.file))
            if name == "headers":
                documents = (_woken(decode(document.raw), restored_at) for document in documents)
            _insert(database, name, documents, progress)
            found = database[name].count_documents({})
            if found != facts.rows:
                raise BackupError(f"{name} has {found:,} documents after the restore, not {facts.rows:,}")
        return _add_headers(database, folder / manifest.of("log").file, manifest, restored_at)


# ---- reading


class _Reading:
    """One collection into one file, by id."""

    def __init__(self, database: Database[Any], name: str, session: ClientSession, progress: Progress) -> None:
        self._collection = database[name]
        self._name = name
        self._session = session
        self._progress = progress
        self._left_out = 0

    def into(self, file: RowsFile) -> int:
        """Returns how many documents were left out."""
        query = self._bounded() if self._name == "audit" else {}
        order = [("_id", ASCENDING)]
        batches = self._collection.find_raw_batches(query, sort=order, batch_size=_READ_AT_ONCE, session=self._session)
        with batches:
            kept = DenseEntries() if self._name == "log" else None
            for batch in batches:
                documents = list(map(bytes, _split(batch)))
                whole = documents if kept is None else [one for one in documents if kept.keeps(_id_of(one))]
                self._left_out += len(documents) - len(whole)
                file.write(b"".join(whole), len(whole))
                self._progress(self._name, file.rows)
        return self._left_out

    def _bounded(self) -> Document:
        """Entries up to the last that is there now. They were written one after the other, so a number that is missing
        below it was removed, and is missing in the backup too."""
        last = self._collection.find_one({}, ["_id"], sort=[("_id", DESCENDING)], session=self._session)
        return {"_id": {"$lte": last["_id"] if last else 0}}


class DenseEntries:
    """Tells entries of the log, by id, that follow the one before without a gap. What stands behind one was appended,
    with what is missing, while the log was read: a prefix of an execution's log is a state that it was in."""

    def __init__(self) -> None:
        self._execution = ""
        self._next = 1

    def keeps(self, key: str) -> bool:
        execution, _, n = key.rpartition("/")
        if execution != self._execution:
            self._execution, self._next = execution, 1
        if int(n) != self._next:
            return False
        self._next += 1
        return True


def _split(batch: bytes) -> Iterator[memoryview]:
    view, begin = memoryview(batch), 0
    while begin < len(view):
        end = begin + int.from_bytes(view[begin : begin + 4], "little")
        yield view[begin:end]
        begin = end


def _id_of(document: bytes) -> str:
    return str(_raw(document)["_id"])


# ---- writing


def _insert(database: Database[Any], name: str, documents: Iterable[Any], progress: Progress) -> None:
    batch: list[Any] = []
    size = rows = 0
    for document in documents:
        batch.append(document)
        size += len(document.raw) if isinstance(document, RawBSONDocument) else 0
        if len(batch) >= _WRITTEN_AT_ONCE or size >= _BYTES_AT_ONCE:
            database[name].insert_many(batch, ordered=False)
            rows += len(batch)
            progress(name, rows)
            batch, size = [], 0
    if batch:
        database[name].insert_many(batch, ordered=False)
        progress(name, rows + len(batch))


def _woken(document: Document, restored_at: float) -> Document:
    if document["status"] == ExecutionStatus.RUNNING.value:
        document["wake_at"] = wake_of_restored(restored_at)
    return document


def _add_headers(database: Database[Any], log: Path, manifest: Manifest, restored_at: float) -> int:
    """An execution that began while the headers were read may be in the log alone. No broker will bring its start
    again, so nobody would ever look at it."""
    made = 0
    for ids in _in_parts(_executions(log)):
        found = {row["_id"] for row in database["headers"].find({"_id": {"$in": ids}}, ["_id"])}
        missing = [_placeholder(key, manifest.began_at, restored_at) for key in ids if key not in found]
        if missing:
            database["headers"].insert_many(missing)
            made += len(missing)
    return made


def _executions(log: Path) -> Iterator[str]:
    for document in documents_of(log):
        execution, _, n = _id_of(document).rpartition("/")
        if int(n) == 1:
            yield execution


def _in_parts(keys: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for key in keys:
        part.append(key)
        if len(part) == _IDS_PER_FIND:
            yield part
            part = []
    if part:
        yield part


def _placeholder(execution_id: str, started_at: float, restored_at: float) -> Document:
    return header_document(
        Header(
            execution_id=execution_id,
            n=1,
            status=ExecutionStatus.RUNNING,
            workflow_name=PLACEHOLDER,
            started_at=started_at,
            wake_at=wake_of_restored(restored_at),
        )
    )


# ---- both


def _raw(document: bytes) -> RawBSONDocument:
    return RawBSONDocument(document, _RAW)


def _collections(database: Database[Any]) -> list[str]:
    return sorted(name for name in database.list_collection_names() if not name.startswith("system."))


@contextmanager
def _opened(settings: Settings) -> Iterator[Database[Any]]:
    config = settings.get_database_config()
    with driver_options(mongo_files(settings)) as tls:
        with translated("connect"):
            try:
                client = MongoClient[Any](config["url"], **tls)
            except ValueError as error:
                raise BackupError(f"DATABASE_URL is not one of MongoDB: {error}") from error
        with client:
            yield client.get_database(
                config["database"],
                read_preference=ReadPreference.PRIMARY,
                read_concern=ReadConcern("majority"),
                write_concern=WriteConcern(w="majority", j=True),
            )
