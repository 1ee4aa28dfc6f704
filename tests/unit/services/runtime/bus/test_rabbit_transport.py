"""The writer that gathers: fewer writes, the same bytes in the same order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.runtime.bus.rabbit_transport import GatheringWriter


class CountingWriter:
    """A real stream writer that counts what it is handed."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self._writer.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._writer, name)


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[GatheringWriter, CountingWriter, Callable[[], bytes]]]:
    received = bytearray()
    ended = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            received.extend(data)
        writer.close()
        ended.set()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    _, plain = await asyncio.open_connection(*server.sockets[0].getsockname())
    counting = CountingWriter(plain)
    gathering = GatheringWriter(counting)  # type: ignore[arg-type]
    try:
        yield gathering, counting, lambda: bytes(received)
        if not plain.is_closing():
            gathering.close()
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        plain.close()
        server.close()


async def test_what_is_written_in_one_turn_goes_in_one_write() -> None:
    async with connection() as (writer, counting, received):
        for data in (b"a", b"b", b"c"):
            writer.write(data)
        assert counting.writes == []
        await asyncio.sleep(0)
        writer.write(b"d")
        await asyncio.sleep(0)
        assert counting.writes == [b"abc", b"d"]
    assert received() == b"abcd"


async def test_draining_passes_everything_on_first() -> None:
    async with connection() as (writer, counting, _):
        writer.write(b"a")
        await writer.drain()
        assert counting.writes == [b"a"]
        await asyncio.sleep(0)
        assert counting.writes == [b"a"]


async def test_closing_passes_everything_on_first() -> None:
    async with connection() as (writer, _, received):
        writer.write(b"last words")
        writer.close()
        assert writer.is_closing()
        writer.write(b"too late")
        await asyncio.sleep(0)
    assert received() == b"last words"
