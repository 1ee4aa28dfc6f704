"""A TCP proxy between one process and one server, which can be made a bad connection."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, Self

Way = Literal["up", "down"]  # up: to the server
WAYS: tuple[Way, ...] = ("up", "down")
_CHUNK = 64 * 1024
_UNDER_WAY = 64  # chunks that wait on one way, before the sender is made to wait


class Proxy:
    """Listens on ``port`` of this host and passes everything on, until told otherwise.

    ``refusing``: new connections are closed at once. ``delay``: seconds that everything takes on its way. ``rate``:
    bytes a second that pass each way of each connection, None for all.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.refusing = False
        self.delay = 0.0
        self.rate: float | None = None
        self._target = (host, port)
        self._open = {way: asyncio.Event() for way in WAYS}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.heal()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def cut(self) -> None:
        """Break every connection off, with what is under way on it."""
        for connection in self._connections:
            connection.cancel()

    def hold(self, ways: Iterable[Way] = WAYS) -> None:
        """Accept and read, but pass nothing on, until healed."""
        for way in ways:
            self._open[way].clear()

    def heal(self) -> None:
        """Be a good connection again; what was held goes on."""
        self.refusing, self.delay, self.rate = False, 0.0, None
        for way in WAYS:
            self._open[way].set()

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        to_server: asyncio.StreamWriter | None = None
        gently = False
        try:
            if not self.refusing:
                server, to_server = await asyncio.open_connection(*self._target)
                await _first_to_end(
                    self.carry(client, to_server, "up"),
                    self.carry(server, to_client, "down"),
                )
                gently = True
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the server is away, or the connection was cut: either way it ends here
        finally:
            self._connections.discard(task)
            for writer in (to_client, to_server):
                if writer is not None and gently:
                    writer.close()  # what was said last is still on its way
                elif writer is not None:
                    writer.transport.abort()

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: Way) -> None:
        """One way of one connection, to its end. For proxies that know what they carry, to override."""
        clock = asyncio.get_running_loop().time
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

        async def read() -> None:
            while data := await source.read(_CHUNK):
                await under_way.put((clock() + self.delay, data))
            await under_way.put((clock() + self.delay, b""))

        async def write() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - clock()))
                await self._open[way].wait()
                if not data:
                    return
                target.write(data)
                await target.drain()
                if self.rate is not None:
                    await asyncio.sleep(len(data) / self.rate)

        reading = asyncio.ensure_future(read())
        try:
            await _first_to_end(write(), _forever_unless_failed(reading))
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _forever_unless_failed(task: asyncio.Future[None]) -> None:
    await task
    await asyncio.Event().wait()


async def _first_to_end(*coroutines: object) -> None:
    """Run them until one ends; the others are cancelled. An error of any is raised."""
    tasks = [asyncio.ensure_future(one) for one in coroutines]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
