"""A TCP proxy before a RabbitMQ that can cut connections, and swallow what the broker says on channels."""

import asyncio
import struct
from types import TracebackType
from urllib.parse import urlsplit

_FRAME_HEADER = struct.Struct(">BHI")  # type, channel, size; one end byte follows the payload


class AmqpProxy:
    """Listens on a port of its own: ``url`` is the broker's with that port.

    While ``mute_channels`` is set when a connection begins, only channel 0 of it gets through from the broker:
    the handshake and heartbeats.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._connected = asyncio.Event()
        self.mute_channels = False

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return self._target._replace(
            netloc=f"{self._target.username}:{self._target.password}@127.0.0.1:{port}"
        ).geturl()

    def cut(self) -> None:
        self._connected.clear()
        for connection in self._connections:
            connection.cancel()

    async def connected_again(self) -> None:
        await asyncio.wait_for(self._connected.wait(), 30)

    async def __aenter__(self) -> "AmqpProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        broker, to_broker = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._connected.set()
        try:
            ways = {asyncio.ensure_future(_pump(client, to_broker))}
            ways.add(asyncio.ensure_future(_pump_frames(broker, to_client, only_channel_0=self.mute_channels)))
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            to_client.close()
            to_broker.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()


async def _pump_frames(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, only_channel_0: bool) -> None:
    while True:
        header = await source.readexactly(_FRAME_HEADER.size)
        _, channel, size = _FRAME_HEADER.unpack(header)
        rest = await source.readexactly(size + 1)
        if channel == 0 or not only_channel_0:
            target.write(header + rest)
            await target.drain()
