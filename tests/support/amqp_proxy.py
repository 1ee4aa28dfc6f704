"""A TCP proxy before a RabbitMQ that can cut connections, and swallow what the broker says on channels."""

import asyncio
import struct
from urllib.parse import urlsplit

from benchmarks.faults.proxy import Proxy, Way

_FRAME_HEADER = struct.Struct(">BHI")  # type, channel, size; one end byte follows the payload


class AmqpProxy(Proxy):
    """Listens on a port of its own: ``url`` is the broker's with that port.

    While ``mute_channels`` is set when a connection begins, only channel 0 of it gets through from the broker:
    the handshake and heartbeats.
    """

    def __init__(self, url: str) -> None:
        self._target_url = urlsplit(url)
        super().__init__(self._target_url.hostname or "localhost", self._target_url.port or 5672)
        self._connected = asyncio.Event()
        self.mute_channels = False

    @property
    def url(self) -> str:
        login = f"{self._target_url.username}:{self._target_url.password}"
        return self._target_url._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    def cut(self) -> None:
        self._connected.clear()
        super().cut()

    async def connected_again(self) -> None:
        await asyncio.wait_for(self._connected.wait(), 30)

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: Way) -> None:
        if way == "up":
            await super().carry(source, target, way)
        else:
            self._connected.set()
            await _pump_frames(source, target, only_channel_0=self.mute_channels)


async def _pump_frames(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, only_channel_0: bool) -> None:
    while True:
        header = await source.readexactly(_FRAME_HEADER.size)
        _, channel, size = _FRAME_HEADER.unpack(header)
        rest = await source.readexactly(size + 1)
        if channel == 0 or not only_channel_0:
            target.write(header + rest)
            await target.drain()
