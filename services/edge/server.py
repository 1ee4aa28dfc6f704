"""The HTTP server around the application, as something that starts and stops like any service."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import structlog
import uvicorn
from fastapi import FastAPI

log = structlog.get_logger(__name__)


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business: other services may run beside this one."""
        yield


class Server:
    """Serves ``app`` on ``host`` and ``port`` (0: any free one, see ``port`` afterwards).

    Stopping ends the open event streams first (``end_streams``), then waits up to ``shutdown_timeout`` seconds for the
    requests in hand.
    """

    def __init__(
        self,
        name: str,
        app: FastAPI,
        end_streams: Callable[[], None],
        *,
        host: str,
        port: int,
        shutdown_timeout: float,
    ) -> None:
        self.name = name
        self.app = app
        self.host = host
        self.port = port
        self._end_streams = end_streams
        # The lifespan is entered here: uvicorn turns a failure in it into an exit of the whole process.
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=max(1, round(shutdown_timeout)),
        )
        self._uvicorn = _Uvicorn(config)
        self._running = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Listen, and return once requests are answered.

        Raises:
            OSError: the address cannot be had.
            BusError: the broker is there and refuses this service.
        """
        async with contextlib.AsyncExitStack() as stack:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            listening = socket.create_server((self.host, self.port), family=family, backlog=2048)
            stack.enter_context(listening)
            self.port = listening.getsockname()[1]
            await stack.enter_async_context(self.app.router.lifespan_context(self.app))
            serving = asyncio.create_task(self._uvicorn.serve([listening]), name="edge-http")
            stack.push_async_callback(self._end, serving)
            while not self._uvicorn.started:
                if serving.done():
                    serving.result()
                    raise RuntimeError("the HTTP server ended before it served; the log says why")
                await asyncio.sleep(0.01)
            self._running = stack.pop_all()
        log.info("edge serves", host=self.host, port=self.port)

    async def stop(self) -> None:
        await self._running.aclose()

    async def _end(self, serving: asyncio.Task[None]) -> None:
        self._end_streams()
        self._uvicorn.should_exit = True
        await serving
