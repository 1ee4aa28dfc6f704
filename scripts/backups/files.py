"""The files of a backup: rows one after the other, compressed, written and read in one pass and little memory."""

import contextlib
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from scripts.backups.manifest import MONGODB, BackupError, FileFacts, Manifest
from scripts.backups.order import Progress

CHUNK: Final = 1 << 20
LEVEL: Final = 3  # of gzip; higher ones take far longer for a tenth less
OWNER_ONLY: Final = 0o600
_LARGEST_DOCUMENT: Final = 64 * 1024 * 1024
_ROWS_BETWEEN_WORDS: Final = 1_000


class RowsFile:
    """A file being written; it must not exist. Nobody but its owner can read it."""

    def __init__(self, path: Path, collection: str, columns: tuple[str, ...] = ()) -> None:
        self._collection = collection
        self._columns = columns
        self._path = path
        self._file = _Hashed(os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb"))
        self._packed = gzip.GzipFile("", "wb", LEVEL, cast(IO[bytes], self._file), mtime=0)
        self.rows = 0

    def write(self, data: bytes, rows: int) -> None:
        """``data`` need not end where a row does.

        Raises:
            BackupError: the disk does not take it.
        """
        with self._writing():
            self._packed.write(data)
        self.rows += rows

    def finish(self) -> FileFacts:
        """On disk when this returns.

        Raises:
            BackupError: the disk does not take it.
        """
        with self._writing():
            self._packed.close()
            self._file.inner.flush()
            size = self._file.inner.tell()
            os.fsync(self._file.inner.fileno())
            self._file.inner.close()
        return FileFacts(
            file=self._path.name,
            collection=self._collection,
            rows=self.rows,
            bytes=size,
            sha256=self._file.sha256.hexdigest(),
            columns=self._columns,
        )

    def close(self) -> None:
        """What could not be written is of no use to anybody."""
        with contextlib.suppress(OSError):
            self._file.inner.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # Not as the store's trouble, for which errors of the system are taken where a driver is at work.
        try:
            yield
        except OSError as error:
            raise BackupError(f"{self._path} cannot be written: {error}") from error


@contextmanager
def rows_file(folder: Path, name: str, collection: str, columns: tuple[str, ...] = ()) -> Iterator[RowsFile]:
    """One to write to; the caller finishes it. Closed, whatever happens."""
    file = RowsFile(folder / name, collection, columns)
    try:
        yield file
    finally:
        file.close()


def chunks_of(path: Path) -> Iterator[bytes]:
    """What was written, in pieces that end anywhere.

    Raises:
        BackupError: the file is not there, or damaged.
    """
    with _readable(path) as file:
        yield from _unpacked(path, file)


def documents_of(path: Path) -> Iterator[bytes]:
    """BSON documents, one by one.

    Raises:
        BackupError: the file is not there, or damaged.
    """
    return _documents(path, chunks_of(path))


def check_files(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Read every file of a backup, and compare it with what the manifest says.

    Raises:
        BackupError: naming each file that is missing or damaged, and how.
    """
    faults = []
    count = _count_documents if manifest.store == MONGODB else _count_lines
    for facts in manifest.files:
        try:
            _check_file(folder / facts.file, facts, count, progress)
        except BackupError as error:
            faults.append(str(error))
    if faults:
        raise BackupError("\n".join(faults))


# ---- within

_Count = Callable[[Path, Iterator[bytes], Callable[[int], None]], int]


class _Hashed(io.RawIOBase):
    """A file, and the hash of what went through it. ``gzip`` closes nothing that it did not open."""

    def __init__(self, inner: IO[bytes]) -> None:
        self.inner = inner
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.sha256.update(data)
        return self.inner.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self.inner.read(size)
        self.sha256.update(data)
        return data

    def flush(self) -> None:
        if not self.inner.closed:
            self.inner.flush()


def _check_file(path: Path, facts: FileFacts, count: _Count, progress: Progress) -> None:
    progress(facts.collection, 0)
    with _readable(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size != facts.bytes:
            raise BackupError(f"{path} is damaged: it has {size:,} bytes, and had {facts.bytes:,}")
        hashed = _Hashed(file)
        try:
            rows = count(
                path, _unpacked(path, cast(IO[bytes], hashed)), lambda found: progress(facts.collection, found)
            )
        finally:
            while hashed.read(CHUNK):
                pass
            if hashed.sha256.hexdigest() != facts.sha256:
                raise BackupError(f"{path} is damaged: its SHA-256 is not that of the manifest")
    if rows != facts.rows:
        raise BackupError(f"{path} has {rows:,} rows, and {facts.rows:,} by the manifest, which was altered")
    progress(facts.collection, rows)


@contextmanager
def _readable(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise BackupError(f"{path} is missing") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error}") from error
    with file:
        yield file


def _unpacked(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    try:
        with gzip.GzipFile("", "rb", fileobj=file) as unpacked:
            while chunk := unpacked.read(CHUNK):
                yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise BackupError(f"{path} is damaged: {error}") from error


def _documents(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        held += chunk
        begin = 0
        while begin + 4 <= len(held):
            size = int.from_bytes(held[begin : begin + 4], "little")
            if not 5 <= size <= _LARGEST_DOCUMENT:
                raise BackupError(f"{path} is damaged: a document of {size:,} bytes")
            if begin + size > len(held):
                break
            yield held[begin : begin + size]
            begin += size
        held = held[begin:]
    if held:
        raise BackupError(f"{path} is damaged: it ends within a document")


def _count_documents(path: Path, chunks: Iterator[bytes], told: Callable[[int], None]) -> int:
    rows = 0
    for _ in _documents(path, chunks):
        rows += 1
        if rows % _ROWS_BETWEEN_WORDS == 0:
            told(rows)
    return rows


def _count_lines(_path: Path, chunks: Iterator[bytes], told: Callable[[int], None]) -> int:
    rows = 0
    for chunk in chunks:
        rows += chunk.count(b"\n")
        told(rows)
    return rows
