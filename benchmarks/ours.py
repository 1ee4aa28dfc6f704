"""Conclave as a contestant: its services as processes, its driver, and what a round of them costs."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import databases
from benchmarks.access import Access
from benchmarks.accounts import Counted, figures_of
from benchmarks.flight import RoundFailed
from benchmarks.processes import ROOT, Served, wait_until_healthy
from benchmarks.rounds import Round, Servers, Workload
from benchmarks.usage import Usage, listener
from scripts.servers import free_port

BUSES = ("direct", "rabbitmq", "redis")
STORES = ("mongodb", "postgresql")
SERVICES = ("orchestrator", "registry", "echo")
LOAD = "load generator"
_READY_WITHIN = 180.0
_ROUND_WITHIN = 3_600.0
_ORDER_WITHIN = 120.0


class OurContestant:
    """Conclave over a bus, with a store. Over ``direct`` all services and the driver are one process; otherwise each is
    its own. The edge runs only for workloads of shape ``start``.

    ``settings``: environment variables of the services, where another value than the default is to be measured.
    ``processes``: how many of each service, where it is not one: ``{"orchestrator": 2}``.
    """

    def __init__(
        self,
        bus: str,
        store: str,
        *,
        settings: Mapping[str, str] | None = None,
        processes: Mapping[str, int] | None = None,
    ) -> None:
        self.name = f"conclave {bus}+{store}"
        self.bus = bus
        self.store = store
        self._settings = dict(settings or {})
        self._many = dict(processes or {})
        self._access = Access()
        self._servers = Servers()
        self._database = ""
        self._port = 0
        self._served: list[Served] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    # ---- as a contestant

    def set_up(self) -> None:
        """Nothing: it runs in the environment that the command runs in."""

    def start(self, servers: Servers) -> None:
        """Start the services on an empty database and wait until a workflow completes.

        Raises:
            RoundFailed: they do not get ready; with the ends of their logs.
        """
        self._servers = servers
        self._folder = tempfile.TemporaryDirectory(prefix="conclave-benchmark-")
        self._database = databases.create(self._server_of_store())
        self._access.store(self._database)
        self._start(self._layout(edge=False))

    def run(self, workload: Workload) -> Round:
        """One round.

        Raises:
            RoundFailed: an execution did not complete, or what it put out is wrong.
        """
        self._have(edge=workload.shape == "start")
        try:
            return self._start_round(workload) if workload.shape == "start" else self._round(workload)
        except RoundFailed as error:
            raise RoundFailed(f"{self.name}: {workload.name}: {error}\n{self._tails()}") from error

    def stop(self) -> None:
        self._stop_processes()
        if self._database:
            databases.drop(self._server_of_store(), self._database)
            self._database = ""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def about(self) -> Mapping[str, str]:
        from benchmarks.machine import our_versions

        told = {"bus": self.bus, "store": self.store, **our_versions()}
        told |= {f"processes of {name}": str(count) for name, count in self._many.items()}
        return told | {f"setting {name}": value for name, value in self._settings.items()}

    # ---- processes

    def _layout(self, *, edge: bool) -> list[tuple[str, ...]]:
        names = [*SERVICES, *(["edge"] if edge else []), "driver"]
        if self.bus == "direct":
            return [tuple(names)]
        return [(name,) for name in names for _ in range(self._many.get(name, 1))]

    def _have(self, *, edge: bool) -> None:
        """With or without the edge, as the workload needs it."""
        if ("edge" in {name for served in self._served for name in served.names}) != edge:
            self._stop_processes()
            self._start(self._layout(edge=edge))

    def _start(self, layout: Iterable[Sequence[str]]) -> None:
        assert self._folder is not None, "start() comes first"
        self._port = free_port()
        environment = {
            "PYTHONPATH": str(ROOT),
            "COMMUNICATION_PROTOCOL": self.bus,
            "DATABASE_URL": self._database,
            "RABBITMQ_URL": self._servers.rabbitmq_url or "",
            "REDIS_URL": self._servers.redis_url or "",
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self._port),
            **self._access.settings,
            **self._settings,
        }
        for names in layout:
            self._served.append(Served(names, environment, Path(self._folder.name)))
        try:
            self._driver.tell("ready", within=_READY_WITHIN)
            if any("edge" in served.names for served in self._served):
                wait_until_healthy(f"http://127.0.0.1:{self._port}/health", _READY_WITHIN)
        except RoundFailed as error:
            raise RoundFailed(f"{self.name}: {error}\n{self._tails()}") from error

    def _stop_processes(self) -> None:
        for served in self._served:
            served.ask_to_end()  # all at once: they need not wait for each other
        for served in self._served:
            served.stop()
        self._served = []

    @property
    def _driver(self) -> Served:
        return self._served[-1]

    def _tails(self) -> str:
        return "\n".join(served.log_tail() for served in self._served)

    def _server_of_store(self) -> str:
        url = self._servers.mongodb_url if self.store == "mongodb" else self._servers.postgresql_url
        if url is None:
            raise RoundFailed(f"{self.name} needs a {self.store} server, and there is none")
        return url

    def _watched(self) -> Usage:
        if self.bus == "direct":
            pids: dict[str, int] = {"services and driver": self._driver.pid}
        else:
            pids = {}
            for served in self._served:
                number = sum(name.split(" ")[0] == served.names[0] for name in pids)
                pids[served.names[0] if not number else f"{served.names[0]} {number + 1}"] = served.pid
        broker = {"rabbitmq": self._servers.rabbitmq_url, "redis": self._servers.redis_url}.get(self.bus)
        servers = {"broker": listener(broker) if broker else None, "store": listener(self._server_of_store())}
        return Usage(pids | {name: pid for name, pid in servers.items() if pid is not None})

    # ---- rounds

    def _round(self, workload: Workload) -> Round:
        order = asdict(workload)
        self._driver.tell("prepare", within=_ORDER_WITHIN, workload=order)
        usage = self._watched()
        cpu, counts = usage.cpu_seconds(), self._counts()
        with usage.sampled():
            told = self._driver.tell("run", within=_ROUND_WITHIN, workload=order)
        self._driver.tell("settle", within=_ORDER_WITHIN)
        figures = figures_of(workload.total_steps, cpu, usage.cpu_seconds(), counts, self._counts(), usage.memory())
        checked = self._driver.tell("check", within=_ORDER_WITHIN)
        return Round(
            workload.name,
            workload.total_steps,
            told["seconds"],
            told["latencies_ms"],
            {**figures, "outputs_checked": checked},
        )

    def _start_round(self, workload: Workload) -> Round:
        watched = self._driver.tell("watch", within=_ORDER_WITHIN, workload=asdict(workload))
        usage = self._watched()
        cpu, counts = usage.cpu_seconds(), self._counts()
        with usage.sampled():
            load = self._load(workload, watched["workflow_id"], watched["payload"])
            accepted = load["accepted"]
            completed_at = self._driver.tell("watched", within=_ROUND_WITHIN, count=accepted)["at"]
        self._driver.tell("settle", within=_ORDER_WITHIN)
        figures = figures_of(accepted, cpu, usage.cpu_seconds(), counts, self._counts(), usage.memory())
        figures["cpu_seconds"][LOAD] = load["cpu_seconds"]
        figures |= {
            "outputs_checked": self._driver.tell("check", within=_ORDER_WITHIN),
            "refused": load["refused"],
            "seconds_until_all_completed": completed_at - load["begun_at"],
        }
        return Round(workload.name, accepted, load["seconds"], load["latencies_ms"], figures)

    def _load(self, workload: Workload, workflow_id: str, payload: str) -> dict[str, Any]:
        path = f"/api/v1/workflows/{workflow_id}/execute"
        arguments = ["127.0.0.1", str(self._port), path, str(workload.in_flight), str(workload.workflows)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", *arguments],
            input=json.dumps({"inputs": {"payload": payload}}).encode(),
            cwd=ROOT,
            env={**os.environ, **self._access.variables},
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise RoundFailed(f"the load generator failed: {done.stderr.decode(errors='replace')[-2_000:]}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def _counts(self) -> Counted:
        """By process; over ``direct`` there is one."""
        return [served.tell("counts", within=_ORDER_WITHIN) for served in self._served]
