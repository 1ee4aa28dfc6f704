"""PostgreSQL as a test looks at it from outside, past the store."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg


@contextlib.asynccontextmanager
async def own_postgres_database(url: str) -> AsyncIterator[str]:
    """The name of an empty database of one test's own, which is dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    await sql(url, f'CREATE DATABASE "{name}"')
    try:
        yield name
    finally:
        await sql(url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def sql(url: str, *statements: str, database: str | None = None) -> list[Any]:
    """Run the statements one after the other, and return the rows of the last."""
    connection = await asyncpg.connect(url, database=database)
    try:
        rows: list[Any] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


class PostgresProxy:
    """A TCP proxy before a PostgreSQL. ``url`` leads through it.

    While ``mute`` is set, what the server says to a message that holds those bytes is dropped and the connection cut:
    the server has done what it was asked, and the client does not know. ``muted`` counts these. While ``frozen`` is
    set, nothing passes on any connection, and nothing is said. While ``silent_end`` is set, a connection that the
    server has ended stays open to the client, who has the server's last words; ``ended`` counts these. ``delay``
    seconds pass before each answer.
    """

    def __init__(self, url: str, *, delay: float = 0.0) -> None:
        self.mute: bytes | None = None
        self.muted = 0
        self.frozen = False
        self.silent_end = False
        self.ended = 0
        self._delay = delay
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._target.netloc.rpartition("@")[0]
        return self._target._replace(netloc=f"{user}@127.0.0.1:{port}", query="sslmode=disable").geturl()

    @property
    def connections(self) -> int:
        return len(self._carrying)

    def cut(self) -> None:
        """Cut every connection that there is."""
        for task in self._carrying:
            task.cancel()

    async def __aenter__(self) -> "PostgresProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port or 5432)
        cut = asyncio.Event()

        async def requests() -> None:
            while data := await client.read(1 << 20):
                await self._thawed()
                if self.mute is not None and self.mute in data:
                    self.mute = None
                    cut.set()
                to_server.write(data)
                await to_server.drain()

        async def answers() -> None:
            while data := await server.read(1 << 20):
                if cut.is_set():
                    self.muted += 1
                    return
                await self._thawed()
                await asyncio.sleep(self._delay)
                to_client.write(data)
                await to_client.drain()
            self.ended += self.silent_end
            while self.silent_end:
                await asyncio.sleep(0.01)

        ways = [asyncio.create_task(requests()), asyncio.create_task(answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_client.transport.abort()
            to_server.close()

    async def _thawed(self) -> None:
        while self.frozen:
            await asyncio.sleep(0.01)
