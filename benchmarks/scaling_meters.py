"""What a deployment has used so far: processor time, bytes on the wire, bytes written, and what its store keeps."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.scaling_system import Deployment
from benchmarks.usage import Usage

TABLES = ("log", "headers", "audit", "audit_checkpoints", "payloads", "definitions")
_BYTES = re.compile(r"\bbytes_(?:sent|received):(\d+)")


class Meters:
    """Reads everything of one deployment. All figures only grow, so that two readings make a difference."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._usage = Usage(deployment.pids)

    def cpu_seconds(self) -> dict[str, float]:
        """By role, the servers as ``broker`` and ``store``."""
        return self._usage.cpu_seconds()

    def read(self) -> dict[str, Any]:
        """``wire``: bytes over the sockets of each server, both ways (absent without ``ss``); ``written``: bytes that
        each server's processes had the file system write; ``kept``: see ``kept_by``; ``counts`` by role."""
        urls, pids = self._deployment.urls, self._deployment.pids
        return {
            "wire": {name: told for name, url in urls.items() if (told := bytes_over_sockets(url)) is not None},
            "written": {name: _written(pids[name]) for name in urls},
            "kept": asyncio.run(kept_by(self._deployment.database_url)),
            "counts": self._deployment.counts(),
        }


def bytes_over_sockets(url: str) -> int | None:
    """Payload bytes of TCP, both ways, over the connections that a local server has now; None where ``ss`` of iproute2
    is missing. A connection that has ended is not in it."""
    program = shutil.which("ss")
    if program is None:
        return None
    listing = subprocess.run(
        [program, "-tinH", f"sport = :{urlsplit(url).port}"], capture_output=True, text=True, check=True
    ).stdout
    return sum(map(int, _BYTES.findall(listing)))


async def kept_by(database_url: str) -> dict[str, int]:
    """``bytes.TABLE`` at rest with its indexes (of MongoDB: of the documents as BSON, uncompressed), ``rows.TABLE``;
    ``entry_bytes``, the log's entries before compression; of PostgreSQL also ``wal``, bytes of its write-ahead log."""
    if urlsplit(database_url).scheme.startswith("postgres"):
        return await _kept_by_postgresql(database_url)
    return await asyncio.to_thread(_kept_by_mongodb, database_url)


async def _kept_by_postgresql(url: str) -> dict[str, int]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        kept = {"wal": int(await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))}
        for table in TABLES:
            size = await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", table)
            kept[f"bytes.{table}"] = int(size)
            kept[f"rows.{table}"] = int(await connection.fetchval(f'SELECT count(*) FROM "{table}"'))
        kept["entry_bytes"] = int(await connection.fetchval("SELECT coalesce(sum(octet_length(entry)), 0) FROM log"))
        return kept
    finally:
        await connection.close()


def _kept_by_mongodb(url: str) -> dict[str, int]:
    from bson.raw_bson import RawBSONDocument
    from pymongo import MongoClient

    kept: dict[str, int] = {}
    client: MongoClient[RawBSONDocument]
    with MongoClient(url, document_class=RawBSONDocument) as client:
        database = client.get_default_database()
        for table in TABLES:
            sizes = [len(document.raw) for document in database[table].find()]
            kept[f"bytes.{table}"], kept[f"rows.{table}"] = sum(sizes), len(sizes)
    kept["entry_bytes"] = kept["bytes.log"]
    return kept


def _written(pid: int) -> int:
    total = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.io_counters().write_bytes
    return total


def difference(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Of two readings of the same form, what the second has more, level by level."""
    return {
        name: difference(value, before.get(name, {})) if isinstance(value, Mapping) else value - before.get(name, 0)
        for name, value in after.items()
    }
