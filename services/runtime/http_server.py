"""An ASGI application served on a port by uvicorn, as something that starts and stops."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn

# Seconds that a connection may be idle: longer than those who keep connections for reuse do (httpx 5, nginx and load
# balancers 60). Whoever asks just as this end closes gets a reset for an answer, and may not ask again by itself.
KEEP_ALIVE: Final = 75


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business: other services may run beside this one."""
        yield


def _nothing() -> None:
    pass


class HttpServer:
    """Serves ``app`` on ``host`` and ``port`` (0: any free one, see ``port`` afterwards).

    Args:
        let_go: called when it is to stop, to end what would never end by itself.
        shutdown_timeout: seconds that requests in hand have to end.
    """

    def __init__(
        self, app: Any, *, host: str, port: int, shutdown_timeout: float, let_go: Callable[[], None] = _nothing
    ) -> None:
        self.host = host
        self.port = port
        self._let_go = let_go
        # The lifespan is entered by whoever has one: uvicorn turns a failure in it into an exit of the whole process.
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, round(shutdown_timeout)),
        )
        self._uvicorn = _Uvicorn(config)
        self._listening: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Take the port; those who connect wait.

        Raises:
            OSError: the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = socket.create_server((self.host, self.port), family=family, backlog=2048)
        self.port = self._listening.getsockname()[1]

    async def start(self) -> None:
        """Return once requests are answered.

        Raises:
            OSError: the address cannot be had.
        """
        if self._listening is None:
            self.listen()
        assert self._listening is not None
        self._serving = asyncio.create_task(self._uvicorn.serve([self._listening]), name="http")
        while not self._uvicorn.started:
            if self._serving.done():
                self._serving.result()
                raise RuntimeError("the HTTP server ended before it served; the log says why")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Take no more requests, let those in hand end, and give the port back."""
        serving, self._serving = self._serving, None
        if serving is not None:
            self._let_go()
            self._uvicorn.should_exit = True
            await serving
        if self._listening is not None:
            self._listening.close()
            self._listening = None
