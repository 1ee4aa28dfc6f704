"""A database of its own for a run, so that no other data is touched and every run begins with an empty one."""

import asyncio
import uuid
from typing import Any
from urllib.parse import urlsplit, urlunsplit


def create(url: str) -> str:
    """Make an empty database on the server that ``url`` leads to; returns the URL of it."""
    name = f"benchmark_{uuid.uuid4().hex[:12]}"
    if _is_postgresql(url):
        asyncio.run(_postgresql(url, f'CREATE DATABASE "{name}"'))
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))  # MongoDB makes one when it is first written to


def drop(url: str, database_url: str) -> None:
    """Delete the database that ``create(url)`` made."""
    name = urlsplit(database_url).path.strip("/")
    if _is_postgresql(url):
        asyncio.run(_postgresql(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        return
    from pymongo import MongoClient

    client: MongoClient[Any]
    with MongoClient(database_url) as client:
        client.drop_database(name)


def _is_postgresql(url: str) -> bool:
    return urlsplit(url).scheme in ("postgresql", "postgres")


async def _postgresql(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
