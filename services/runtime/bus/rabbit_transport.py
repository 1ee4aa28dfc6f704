"""What goes to RabbitMQ in one turn of the event loop goes in one write.

aiormq hands each frame to the transport by itself, and uvloop writes each at once: a settlement of 21 bytes is a system
call and wakes the broker. Together they cost both sides less (docs/performance.md).
"""

import asyncio
from typing import Any

from aio_pika import RobustConnection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from services.runtime.bus.rabbit_frames import CarefulReader, was_unreadable
from services.runtime.tls_refusals import tls_refusal


class TlsRefused(AMQPConnectionError):
    """There is a server, and one of the two sides refuses the other's certificate, or TLS altogether."""


class GatheringWriter:
    """A stream writer that passes on what it is given when the event loop comes round, or when asked to drain."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._parts: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._pass_on)
        self._parts.append(data)

    async def drain(self) -> None:
        self._pass_on()
        await self._writer.drain()

    def close(self) -> None:
        self._pass_on()
        self._writer.close()

    def write_eof(self) -> None:
        self._pass_on()
        self._writer.write_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def _pass_on(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._writer.is_closing():
            self._writer.write(b"".join(parts))


class GatheringTransportFactory(TransportFactory):
    """Transports as aiormq makes them, by TCP or TLS, with a writer that gathers. ``careful``: with a reader that hands
    on no frame that cannot be read, which costs time with each."""

    careful = False

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        plain: TransportFactory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        try:
            reader, writer = await plain.create(url, **kwargs)
        except AMQPConnectionError as error:
            if refusal := tls_refusal(error):
                raise TlsRefused(refusal) from error
            raise
        taken: Any = CarefulReader(reader) if self.careful else reader
        return taken, GatheringWriter(writer)  # type: ignore[return-value]


class GatheringConnection(RobustConnection):
    """aio-pika's connection over such a transport."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transports = GatheringTransportFactory()
        self.kwargs["transport_factory"] = self._transports

    async def _on_connection_close(self, closing: asyncio.Future[Any]) -> None:
        if not closing.cancelled() and was_unreadable(closing.exception()):
            self._transports.careful = True
        await super()._on_connection_close(closing)
