"""A whole deployment on this machine for the benchmark of scaling out: every service that work passes, so many of each,
over a RabbitMQ and a store of its own."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import databases
from benchmarks.access import Access
from benchmarks.flight import RoundFailed
from benchmarks.processes import ROOT, Served, wait_until_healthy
from benchmarks.rounds import Servers, Workload
from benchmarks.sessions import servers_for
from benchmarks.usage import listener
from scripts.servers import ServerNotFound, free_port
from services.runtime.settings import Settings

STORES = ("postgresql", "mongodb")
SCALED = ("orchestrator", "echo")  # of which there are several
BESIDE = ("registry", "edge", "auditor", "monitor")  # one of each, as a deployment has them
DRIVER = "driver"
_READY_WITHIN = 180.0
_WITHIN = 600.0


@dataclass(frozen=True, slots=True)
class Layout:
    """How many orchestrators and hosts there are, and which store."""

    store: str
    orchestrators: int
    hosts: int

    @property
    def name(self) -> str:
        return f"{self.store}, {self.orchestrators} × {self.hosts}"


class Deployment:
    """What stands: processes by role (``orchestrator 1``, ``echo 2``, ``edge`` ...) and where its servers are."""

    def __init__(self, served: Mapping[str, Served], servers: Servers, store_url: str, database_url: str) -> None:
        self.served = served
        self.database_url = database_url
        assert servers.rabbitmq_url is not None
        self.settings = Settings.model_validate(
            {"communication_protocol": "rabbitmq", "database_url": database_url, "rabbitmq_url": servers.rabbitmq_url}
        )
        self.urls = {"broker": servers.rabbitmq_url, "store": store_url}
        self.pids = {name: one.pid for name, one in served.items()}
        for name, url in self.urls.items():
            pid = listener(url)
            if pid is None:
                raise RoundFailed(f"the process of the {name} cannot be seen, and so its processor time cannot")
            self.pids[name] = pid

    def counts(self) -> dict[str, Mapping[str, Mapping[str, int]]]:
        """By role, what each process has sent and asked of its store since it began."""
        return {name: one.tell("counts", within=_WITHIN) for name, one in self.served.items()}

    def drive(self, order: str, workload: Workload) -> Any:
        return self.served[DRIVER].tell(order, within=_WITHIN, workload=asdict(workload))

    def check(self) -> int:
        """How many outputs of the last round were compared.

        Raises:
            RoundFailed: one is not what it should be.
        """
        compared: int = self.served[DRIVER].tell("check", within=_WITHIN)
        return compared


@contextmanager
def deployed(layout: Layout, *, say: Any) -> Iterator[Deployment]:
    """Stands while the body runs.

    Raises:
        ServerNotFound: there is no RabbitMQ, or no such store.
        RoundFailed: the services do not get ready.
    """
    with ExitStack() as stack:
        session = stack.enter_context(servers_for({"rabbitmq", layout.store}, {}, say))
        if session.missing:
            raise ServerNotFound("; ".join(f"{name}: {why}" for name, why in session.missing.items()))
        servers = session.servers
        store_url = servers.postgresql_url if layout.store == "postgresql" else servers.mongodb_url
        assert store_url is not None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conclave-scaling-")))
        database = databases.create(store_url)
        access = Access()
        access.store(database)
        port = free_port()
        environment = {
            "PYTHONPATH": str(ROOT),
            "COMMUNICATION_PROTOCOL": "rabbitmq",
            "DATABASE_URL": database,
            "RABBITMQ_URL": servers.rabbitmq_url or "",
            "API_HOST": "127.0.0.1",
            "API_PORT": str(port),
            "METRICS_PORT": "0",
            "LOG_LEVEL": "WARNING",
            **access.settings,
        }
        served: dict[str, Served] = {}
        for name, service in _roles(layout):
            served[name] = Served([service], environment, folder)
            stack.callback(served[name].stop)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}/health", _READY_WITHIN)
            served[DRIVER].tell("ready", within=_READY_WITHIN)
            yield Deployment(served, servers, store_url, database)
        except RoundFailed as error:
            tails = "\n".join(one.log_tail() for one in served.values())
            raise RoundFailed(f"{layout.name}: {error}\n{tails}") from error
        finally:
            for one in served.values():
                one.ask_to_end()


def _roles(layout: Layout) -> Sequence[tuple[str, str]]:
    many = dict(zip(SCALED, (layout.orchestrators, layout.hosts), strict=True))
    scaled = [(f"{name} {number}", name) for name, count in many.items() for number in range(1, count + 1)]
    return [*scaled, *((name, name) for name in (*BESIDE, DRIVER))]
