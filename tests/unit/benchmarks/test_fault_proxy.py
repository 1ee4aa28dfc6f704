"""The proxy of a fault run, before an echo server: what it passes on, and what not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.faults.proxy import Proxy, Way

PATIENCE = 20.0


class Echo:
    """Gives back what it is sent, and notes it."""

    def __init__(self) -> None:
        self.heard = b""
        self.connections = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while data := await reader.read(65536):
                self.heard += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.answer, "127.0.0.1", 0)
    async with server, Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy, echo


async def connected(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes) -> bytes:
    writer.write(said)
    return await asyncio.wait_for(reader.readexactly(len(said)), PATIENCE)


async def ends(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), PATIENCE) == b""
    except ConnectionError:
        return True


async def silent(reader: asyncio.StreamReader) -> bool:
    """Nothing comes for a while, though the connection stands."""
    try:
        await asyncio.wait_for(reader.read(1), 0.3)
    except TimeoutError:
        return True
    return False


async def heard(echo: Echo, said: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        while echo.heard != said:
            await asyncio.sleep(0.01)


async def test_everything_passes_in_order() -> None:
    said = bytes(range(256)) * 8_000  # 2 MB: more than any buffer on the way
    async with proxied() as (proxy, echo):
        assert await exchange(*await connected(proxy), said) == said
        assert echo.heard == said


async def test_what_the_client_said_last_arrives_though_it_leaves() -> None:
    async with proxied() as (proxy, echo):
        _, writer = await connected(proxy)
        writer.write(b"last words")
        writer.close()
        await heard(echo, b"last words")


async def test_a_cut_ends_every_connection_and_lets_new_ones_in() -> None:
    async with proxied() as (proxy, _):
        streams = [await connected(proxy) for _ in range(3)]
        for stream in streams:
            assert await exchange(*stream, b"x") == b"x"
        proxy.cut()
        assert [await ends(reader) for reader, _ in streams] == [True] * 3
        assert await exchange(*await connected(proxy), b"y") == b"y"


async def test_who_is_refused_never_reaches_the_server() -> None:
    async with proxied() as (proxy, echo):
        proxy.refusing = True
        reader, _ = await connected(proxy)
        assert await ends(reader)
        assert echo.connections == 0
        proxy.heal()
        assert await exchange(*await connected(proxy), b"x") == b"x"


@pytest.mark.parametrize(("ways", "arrives"), [(["up"], b""), (["down"], b"held"), (["up", "down"], b"")])
async def test_what_is_held_goes_on_when_it_is_healed(ways: list[Way], arrives: bytes) -> None:
    async with proxied() as (proxy, echo):
        reader, writer = await connected(proxy)
        proxy.hold(ways)
        writer.write(b"held")
        assert await silent(reader)
        assert echo.heard == arrives
        proxy.heal()
        assert await asyncio.wait_for(reader.readexactly(4), PATIENCE) == b"held"


async def test_delayed_and_throttled_bytes_all_arrive() -> None:
    async with proxied() as (proxy, _):
        proxy.delay, proxy.rate = 0.05, 1_000_000
        said = b"0123456789" * 20_000
        assert await exchange(*await connected(proxy), said) == said


async def test_a_server_that_is_away_ends_the_connection() -> None:
    async with Proxy("127.0.0.1", 1) as proxy:
        reader, _ = await connected(proxy)
        assert await ends(reader)
        async with asyncio.timeout(PATIENCE):
            while proxy.connections:
                await asyncio.sleep(0.01)
