"""A system that stands while something is done to it: every service a process, over RabbitMQ, with a store."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import databases
from benchmarks.access import Access
from benchmarks.flight import RoundFailed
from benchmarks.processes import ROOT, Served, wait_until_healthy
from benchmarks.usage import listener
from scripts.servers import find_mongodb, find_postgresql, find_rabbitmq, free_port
from services.runtime.settings import Settings

STORES = ("postgresql", "mongodb")
_READY_WITHIN = 180.0


@dataclass(frozen=True)
class Standing:
    """What stands: its address, its processes by name, and the settings and the key with which to be a client of it."""

    port: int
    pids: Mapping[str, int]
    settings: Settings
    served: Sequence[Served]
    access: Access

    def ended(self) -> list[str]:
        """The services whose process is no more, which must be none."""
        return [served.names[0] for served in self.served if not Path(f"/proc/{served.pid}/stat").exists()]

    def log_tails(self) -> str:
        return "\n".join(served.log_tail() for served in self.served)


@contextmanager
def standing(
    store: str, processes: Mapping[str, int], environment: Mapping[str, str], *, logs: Path | None = None
) -> Iterator[Standing]:
    """Servers of its own, an empty database, and as many ``processes`` of each service as are asked for.

    Args:
        store: ``postgresql`` or ``mongodb`` (the embedded one, where there is no other).
        environment: settings of the services, where another value than the default is wanted.
        logs: folder for their logs; a temporary one if not given.

    Raises:
        ServerNotFound: there is no RabbitMQ or no such store.
        RoundFailed: the services do not get ready.
    """
    with ExitStack() as stack:
        rabbit = stack.enter_context(find_rabbitmq(own=True))
        server = stack.enter_context(find_postgresql() if store == "postgresql" else find_mongodb(own=True))
        folder = logs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conclave-standing-")))
        folder.mkdir(parents=True, exist_ok=True)
        database = databases.create(server.url)
        if store == "postgresql":
            stack.callback(databases.drop, server.url, database)  # the other one's data goes with its server
        access = Access()
        access.store(database)
        port = free_port()
        variables = {
            "PYTHONPATH": str(ROOT),
            "COMMUNICATION_PROTOCOL": "rabbitmq",
            "DATABASE_URL": database,
            "RABBITMQ_URL": rabbit.url,
            "API_HOST": "127.0.0.1",
            "API_PORT": str(port),
            "LOG_LEVEL": "WARNING",
            **access.settings,
            **environment,
        }
        served: list[Served] = []
        pids: dict[str, int] = {}
        for name, count in processes.items():
            for number in range(1, count + 1):
                process = Served([name], variables, folder)
                stack.callback(process.stop)
                served.append(process)
                pids[name if count == 1 else f"{name} {number}"] = process.pid
        for name, url in (("broker", rabbit.url), ("store", server.url)):
            if (pid := listener(url)) is not None:
                pids[name] = pid
        settings = Settings.model_validate(
            {"communication_protocol": "rabbitmq", "database_url": database, "rabbitmq_url": rabbit.url}
        )
        made = Standing(port, pids, settings, served, access)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}/health", _READY_WITHIN)
        except RoundFailed as error:
            raise RoundFailed(f"{error}\n{made.log_tails()}") from error
        yield made
        time.sleep(0.2)  # for what is still being written
