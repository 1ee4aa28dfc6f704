"""Connections to one PostgreSQL database, and how every session of ours behaves.

A connection pooler between (PgBouncer) must be told not to refuse the session's settings
(``ignore_startup_parameters``); the durability that they ask for is checked when the store is prepared.
"""

import asyncio
import math
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from services.runtime.settings import POSTGRES_SCHEMES
from services.runtime.store.base import StoreError
from services.runtime.store.postgres_errors import out_of_step, translated
from services.runtime.store.preparation import Preparation

Row = Any  # asyncpg.Record: a tuple that can be asked by column, too

_HOST = r"(\[[0-9A-Fa-f:.%]+\]|[^\s:,@\[\]]*)(:[0-9]{1,5})?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*")

# The server must not choose these. The log's tables grow while plans made for small ones are kept, and every statement
# of ours is best served by an index: without these a plan made on the empty log reads the whole of it later.
_SESSION = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


class Connections:
    """A pool that connects when it has to: it can be opened while the server is away, and recovers by itself.

    Args:
        url: ``postgresql://...`` as libpq has it. Its ``connect_timeout`` and ``command_timeout`` (seconds) win over
            the arguments, and its ``application_name`` over ours; of several hosts the one that takes writes is used.
        connect_timeout: seconds to connect and log in.
        command_timeout: seconds to wait for a free connection, and then for the answer to one statement.
        size: connections at most.
        tls: what every connection is encrypted with; None: as the URL says.
    """

    def __init__(
        self,
        url: str,
        database: str,
        *,
        connect_timeout: float,
        command_timeout: float,
        size: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url, options = _taken_apart(url)
        self.database = database
        self._tls = tls
        self.connect_timeout = _seconds(options, "connect_timeout", connect_timeout)
        self.command_timeout = _seconds(options, "command_timeout", command_timeout)
        self._size = size
        self._settings = {
            **({} if "application_name" in options else {"application_name": "conclave"}),
            **_SESSION,
            # For a server that goes on when its client has gone.
            "statement_timeout": str(math.ceil(self.command_timeout * 1000)),
        }
        self._pool: Any = None

    async def open(self) -> None:
        """Connects to nothing yet."""
        self._pool = asyncpg.create_pool(
            self.url,
            database=self.database,
            ssl=self._tls,
            min_size=0,
            max_size=self._size,
            timeout=self.connect_timeout,
            server_settings=self._settings,
            target_session_attrs="read-write",
            # Nothing that we do leaves a trace in a session, and resetting it would be a second round trip.
            reset=_leave_as_it_is,
        )
        await self._pool

    async def close(self) -> None:
        """Let what is under way end, for as long as a statement may take, and then cut it off."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), self.command_timeout)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    @asynccontextmanager
    async def connection(self, action: str) -> AsyncIterator[Any]:
        """One connection for several statements. Errors are told as the store's, with ``action`` before them."""
        if self._pool is None:
            raise StoreError("the store is not started")
        with translated(action):
            async with self._pool.acquire(timeout=self.command_timeout) as connection:
                try:
                    yield connection
                except TimeoutError:
                    connection.terminate()  # its answer may still come, and is not the next statement's
                    raise
                except asyncpg.InternalClientError as error:
                    if out_of_step(error):
                        connection.terminate()
                    raise

    async def fetch(self, action: str, statement: str, *values: Any) -> list[Row]:
        """Run one statement, committed by itself, and return its rows."""
        async with self.connection(action) as connection:
            rows: list[Row] = await connection.fetch(statement, *values, timeout=self.command_timeout)
        return rows


class PostgresPart:
    """What every part of the store stands on: statements that wait for the database to be prepared, once the store is
    started."""

    _connections: Connections | None = None
    _preparation: Preparation | None = None

    async def _fetch(self, action: str, statement: str, *values: Any) -> list[Row]:
        connections, preparation = self._connections, self._preparation
        if connections is None or preparation is None:
            raise StoreError("the store is not started")
        await preparation.ready()
        return await connections.fetch(action, statement, *values)


async def _leave_as_it_is(_connection: object) -> None:
    return


def _taken_apart(url: str) -> tuple[str, dict[str, str]]:
    """The URL without the options that are ours to keep, and all its options.

    What is wrong with it is said without showing it: where a URL is not what it should be, the password may be
    anywhere.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise StoreError("the URL of the store is not one of PostgreSQL: it cannot be read as a URL") from None
    if parts.scheme not in POSTGRES_SCHEMES:
        raise StoreError(f"the URL of the store is not one of PostgreSQL: it begins with {parts.scheme}://")
    if not _HOSTS.fullmatch(parts.netloc.rpartition("@")[2]):
        raise StoreError(
            "the URL of the store is not one of PostgreSQL: expected "
            "postgresql://[user[:password]@]host[:port][,host[:port]]/database, with special characters as %XX"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    kept = {name: value for name, value in options.items() if name not in ("connect_timeout", "command_timeout")}
    return parts._replace(query=urlencode(kept)).geturl(), options


def _seconds(options: dict[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) <= 0:
        raise StoreError(f"{name}={text} in the URL of the store: expected seconds, more than 0")
    return float(text)
