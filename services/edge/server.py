"""The HTTP server around the application, as something that starts and stops like any service."""

import contextlib
from collections.abc import Awaitable, Callable

import structlog
from fastapi import FastAPI

from contracts.monitoring import CheckResult
from services.runtime.correlation import in_service
from services.runtime.http_server import HttpServer
from services.runtime.service import Service

log = structlog.get_logger(__name__)


class Server:
    """Serves ``app`` on ``host`` and ``port`` (0: any free one, see ``port`` afterwards).

    Stopping ends the open event streams first (``end_streams``), then waits up to ``shutdown_timeout`` seconds for the
    requests in hand.

    Args:
        service: what the application is in front of; its lifespan starts and stops it.
    """

    def __init__(
        self,
        service: Service,
        app: FastAPI,
        end_streams: Callable[[], None],
        *,
        host: str,
        port: int,
        shutdown_timeout: float,
    ) -> None:
        self.name = service.name
        self.sender = service.sender
        self.bus = service.bus
        self.app = app
        self._service = service
        self._http = HttpServer(app, host=host, port=port, shutdown_timeout=shutdown_timeout, let_go=end_streams)
        self._running = contextlib.AsyncExitStack()

    @property
    def host(self) -> str:
        return self._http.host

    @property
    def port(self) -> int:
        return self._http.port

    def before_close(self, say: Callable[[], Awaitable[None]]) -> None:
        self._service.before_close(say)

    async def checks(self) -> tuple[CheckResult, ...]:
        return await self._service.checks()

    async def start(self) -> None:
        """Listen, and return once requests are answered.

        Raises:
            OSError: the address cannot be had.
            BusError: the broker is there and refuses this service.
        """
        in_service(self.name)
        async with contextlib.AsyncExitStack() as stack:
            self._http.listen()
            stack.push_async_callback(self._http.stop)
            # Entered here: uvicorn turns a failure in it into an exit of the whole process.
            await stack.enter_async_context(self.app.router.lifespan_context(self.app))
            stack.push_async_callback(self._http.stop)  # before the service behind it is
            await self._http.start()
            self._running = stack.pop_all()
        log.info("edge serves", host=self.host, port=self.port)

    async def stop(self) -> None:
        in_service(self.name)
        await self._running.aclose()
