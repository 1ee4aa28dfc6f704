"""The system of a run: its servers, its services as processes, and a proxy on every way between them."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.access import Access
from benchmarks.faults.ledger import SOCKET_VARIABLE
from benchmarks.faults.processes import ServiceProcess, service_environment
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.servers import rabbit_server, resume, store_server, through
from benchmarks.faults.shapes import ACTION, AGENT_TYPE, planned
from scripts.server_processes import LocalServer, free_port

BROKER, STORE = "rabbitmq", "store"
ORCHESTRATORS, AGENT_HOSTS = 2, 4
READY_PATIENCE = 120.0
STEP_LEASE = 60.0  # seconds beside a step's own minute, after which what the broker lost is sent again


class NotReady(Exception):
    """The system did not come up; the message holds what it said last."""


class System:
    """Two orchestrators, four agent hosts, the registry and the edge; a broker and a store of their own.

    Use as an asynchronous context manager: inside, the servers run, and ``start`` starts the services.
    """

    def __init__(self, store: str, folder: Path, ledger: Path) -> None:
        self.servers: dict[str, LocalServer] = {}
        self.services: dict[str, ServiceProcess] = {}
        self.links: dict[str, Proxy] = {}
        self._store = store
        self._folder = folder
        self._ledger = ledger
        self._api_port = free_port()
        self.access = Access()
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._api_port}/api/v1"

    @property
    def broker_url(self) -> str:
        return self.servers[BROKER].url

    @property
    def store_url(self) -> str:
        return self.servers[STORE].url

    async def __aenter__(self) -> "System":
        async with AsyncExitStack() as stack:
            for name, server in (
                (BROKER, rabbit_server()),
                (STORE, store_server(self._store)),
            ):
                self.servers[name] = server
                stack.callback(server.close)
                stack.callback(self._keep_log, name, server)
                await asyncio.to_thread(server.start)
            for name, module, uses in _services():
                self.services[name] = await self._service(stack, name, module, uses)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        for service in self.services.values():
            service.kill()
        for server in self.servers.values():
            resume(server)
        await self._stack.aclose()

    async def start(self, seed: int) -> None:
        """Start every service and wait until the edge takes a definition for the agents.

        Raises:
            NotReady: a service ended, or it took too long.
        """
        await asyncio.to_thread(self.access.store, self.store_url)
        for service in self.services.values():
            service.start()
        probe = {"name": "probe", "steps": [dict(step) for step in planned(seed, 0).definition["steps"][:1]]}
        said = "nothing"
        try:
            async with (
                asyncio.timeout(READY_PATIENCE),
                httpx.AsyncClient(timeout=5, headers=self.access.headers) as client,
            ):
                while all(service.ended_with is None for service in self.services.values()):
                    try:
                        answer = await client.post(f"{self.url}/workflows", json=probe)
                        if answer.status_code == httpx.codes.CREATED:
                            return
                        said = answer.text
                    except httpx.HTTPError as error:
                        said = repr(error)
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pass
        ended = {name: one.ended_with for name, one in self.services.items() if one.ended_with is not None}
        raise NotReady(f"{AGENT_TYPE}.{ACTION} cannot be used; the edge said {said}; processes that ended: {ended}")

    def _keep_log(self, name: str, server: LocalServer) -> None:
        log = server.folder / "server.log"
        if log.exists():
            shutil.copy(log, self._folder / f"{name}.log")

    async def mend(self) -> None:
        """Heal every link and have every server and service running."""
        for link in self.links.values():
            link.heal()
        for server in self.servers.values():
            resume(server)
            await asyncio.to_thread(server.start)
        for service in self.services.values():
            service.resume()
            if not service.wanted:
                service.start()

    async def stop(self) -> dict[str, int | None]:
        """End the services in good order, those that hear of others last; the exit code of each, None for one that
        had to be killed."""
        codes: dict[str, int | None] = {}
        for group in ("edge", AGENT_TYPE, "orchestrator", "registry"):
            names = [name for name in self.services if name.partition("#")[0] == group]
            ended = await asyncio.gather(*(self.services[name].stop() for name in names))
            codes.update(zip(names, ended, strict=True))
        return codes

    async def _service(
        self, stack: AsyncExitStack, name: str, module: list[str], uses: tuple[str, ...]
    ) -> ServiceProcess:
        urls: dict[str, str] = {}
        for server_name in uses:
            server = self.servers[server_name]
            host, port = urlsplit(server.url).hostname or "127.0.0.1", urlsplit(server.url).port or server.port
            link = self.links[f"{name}>{server_name}"] = await stack.enter_async_context(Proxy(host, port))
            urls[server_name] = through(server.url, link.port)
        return ServiceProcess(name, module, self._environment(urls), self._folder / f"{name}.log")

    def _environment(self, urls: Mapping[str, str]) -> dict[str, str]:
        settings = {
            "COMMUNICATION_PROTOCOL": "rabbitmq",
            "RABBITMQ_URL": urls[BROKER],
            "API_PORT": str(self._api_port),
            "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
            "STEP_LEASE": str(STEP_LEASE),
            "SHUTDOWN_TIMEOUT": "10",
            SOCKET_VARIABLE: str(self._ledger),
            **self.access.settings,
        }
        if STORE in urls:
            settings["DATABASE_URL"] = urls[STORE]
        return service_environment(settings)


def _services() -> list[tuple[str, list[str], tuple[str, ...]]]:
    """Name, module and servers of each process."""
    both = (BROKER, STORE)
    orchestrators = [(f"orchestrator#{i}", ["services", "orchestrator"], both) for i in range(1, ORCHESTRATORS + 1)]
    hosts = [(f"{AGENT_TYPE}#{i}", ["benchmarks.faults.agent"], (BROKER,)) for i in range(1, AGENT_HOSTS + 1)]
    return [
        *orchestrators,
        *hosts,
        ("registry", ["services", "registry"], both),
        ("edge", ["services", "edge"], both),
    ]
