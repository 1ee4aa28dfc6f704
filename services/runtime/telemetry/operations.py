"""What a process shows while it lives: its operations port, its reports, and the traces it made."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

import structlog

from services.runtime.bus.base import Bus
from services.runtime.http_server import HttpServer
from services.runtime.settings import BadSettings, Settings
from services.runtime.telemetry.endpoints import Endpoints
from services.runtime.telemetry.health import Checked
from services.runtime.telemetry.process_metrics import ProcessMetrics, SystemWatch
from services.runtime.telemetry.reporter import Reporter
from services.runtime.telemetry.telemetry import Telemetry

log = structlog.get_logger(__name__)

_SCRAPE_TIMEOUT = 5.0  # seconds that a question in hand has when the process ends


@runtime_checkable
class Observed(Checked, Protocol):
    """A service of the process."""

    @property
    def bus(self) -> Bus: ...

    @property
    def sender(self) -> str: ...

    def before_close(self, say: Callable[[], Awaitable[None]]) -> None: ...


class Operations:
    """Of one process with these services. Its port is there before they are and after: a process that waits for its
    broker is alive, and not ready."""

    def __init__(self, settings: Settings, telemetry: Telemetry, services: Sequence[Observed]) -> None:
        self._settings = settings
        self._telemetry = telemetry
        telemetry.health.watch(services)
        self._server = self._serve_on(settings.metrics_port)
        self._watch = SystemWatch(telemetry.metrics(ProcessMetrics))
        self._reporters = [
            Reporter(first.bus, first.sender, telemetry, self._watch, interval=settings.report_interval)
            for first in services[:1]
            if telemetry.enabled
        ]
        for reporter in self._reporters:
            services[0].before_close(reporter.stop)

    @property
    def port(self) -> int:
        return self._server.port

    async def start(self) -> None:
        """
        Raises:
            BadSettings: METRICS_PORT was set, and is taken.
        """
        self._listen()
        await self._server.start()
        await self._watch.start()
        for reporter in self._reporters:
            await reporter.start()
        log.info("metrics and health served", host=self._server.host, port=self.port)

    async def end(self) -> None:
        """The process is about to end: nothing in it is ready any more, and the monitor is told. Returns when whoever
        sends here has had time to notice."""
        self._telemetry.health.ending = True
        for reporter in self._reporters:
            reporter.say_that_it_ends()
        await asyncio.sleep(self._settings.shutdown_delay)

    async def stop(self) -> None:
        """After the services: what they counted and traced until then can be read until now."""
        self._telemetry.health.ending = True
        for reporter in self._reporters:
            await reporter.stop()
        await self._watch.stop()
        await self._server.stop()
        if self._telemetry.tracing is not None:
            await self._telemetry.tracing.stop()

    def _listen(self) -> None:
        try:
            self._server.listen()
        except OSError as error:
            host, port = self._settings.metrics_host, self._settings.metrics_port
            if "metrics_port" in self._settings.model_fields_set:
                raise BadSettings(f"METRICS_PORT={port} cannot be had on {host}: {error}; 0 = any free") from None
            self._server = self._serve_on(0)
            try:
                self._server.listen()
            except OSError as again:
                raise BadSettings(f"METRICS_HOST={host} cannot be listened on: {again}") from None
            log.warning("default METRICS_PORT is taken, using another", taken=port, port=self._server.port)

    def _serve_on(self, port: int) -> HttpServer:
        return HttpServer(
            Endpoints(self._telemetry), host=self._settings.metrics_host, port=port, shutdown_timeout=_SCRAPE_TIMEOUT
        )
