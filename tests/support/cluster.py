"""The real system for a test: every service a process of its own, or all of them in one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from scripts.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("orchestrator", "registry", "dead_letters", "data_agent", "decision_agent", "coordinator_agent", "edge")
PATIENCE = 120.0


class Cluster:
    """Processes of ``python -m services``, with their logs in a folder.

    Each process has a name: the service's, or the service's with a suffix for a second one (``orchestrator#2``);
    ``all`` is every service in one process, ``worker`` the tests' own agent, whose ledger is ``self.ledger``.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._folder = folder
        self._client = httpx.Client(timeout=30)
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "API_PORT": str(self.port),
            "LOG_LEVEL": "INFO",
            "WORKER_LEDGER": str(self.ledger),
            **environment,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str, extra: Mapping[str, str] | None = None) -> None:
        """Start processes; ``extra`` is added to their environment."""
        for name in names:
            with (self._folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *_module(name.partition("#")[0])],
                    cwd=ROOT,
                    env={**self._environment, **(extra or {})},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def alive(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """kill -9, with every child process of it."""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def terminate(self, name: str) -> int:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def close(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        self._client.close()

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    # ---- use

    def wait_until_ready(self, *agent_types: str) -> None:
        """The edge answers, and a definition that uses these agent types passes its checks."""
        steps = [_probe(agent_type) for agent_type in agent_types]
        definition = {"name": "probe", "steps": steps}
        deadline = time.monotonic() + PATIENCE
        said = ""
        while time.monotonic() < deadline and all(self.alive(name) for name in self._processes):
            try:
                answer = self._client.post(f"{self.url}/workflows", json=definition, timeout=5)
                if answer.status_code == 201:
                    return
                said = answer.text
            except httpx.HTTPError as error:
                said = repr(error)
            time.sleep(0.2)
        raise AssertionError(f"not ready: {said}\n" + "\n".join(self._tails()))

    def start_execution(self, definition: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> str:
        answer = self._client.post(
            f"{self.url}/executions", json={"definition": definition, "inputs": inputs or {}}, timeout=30
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["execution_id"])

    def execution(self, execution_id: str) -> dict[str, Any]:
        answer = self._client.get(f"{self.url}/executions/{execution_id}", timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def history(self, execution_id: str) -> list[dict[str, Any]]:
        """Every event, in order, over all pages."""
        events: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self._client.get(
                f"{self.url}/executions/{execution_id}/history", params={"after": after}, timeout=30
            ).json()
            for entry in page["entries"]:
                events += entry["events"]
                after = entry["n"]
            if not page["entries"] or page.get("next") is None:
                return events

    def wait_until_ended(self, execution_ids: Sequence[str], patience: float = PATIENCE) -> list[dict[str, Any]]:
        deadline = time.monotonic() + patience
        waiting = list(execution_ids)
        while waiting:
            waiting = [one for one in waiting if self.execution(one)["status"] == "running"]
            if waiting and time.monotonic() > deadline:
                raise AssertionError(f"{len(waiting)} never ended, e.g. {waiting[0]}\n" + "\n".join(self._tails()))
            time.sleep(0.1)
        return [self.execution(one) for one in execution_ids]

    def _tails(self) -> list[str]:
        return [
            f"--- {path.stem}\n" + "\n".join(path.read_text().splitlines()[-15:]) for path in self._folder.glob("*.log")
        ]


def _module(service: str) -> list[str]:
    if service == "worker":
        return ["tests.support.worker_agent"]
    return ["services"] if service == "all" else ["services", service]


def _probe(agent_type: str) -> dict[str, Any]:
    probes: dict[str, dict[str, Any]] = {
        "data_agent": {"action": "profile", "inputs": {"data_source": [{"x": 1}]}},
        "decision_agent": {
            "action": "make_decision",
            "inputs": {"data": [{"name": "a", "x": 1}, {"name": "b", "x": 2}]},
        },
        "coordinator_agent": {"action": "aggregate", "inputs": {"items": [{"x": 1}], "strategy": "list"}},
        "worker": {"action": "work", "inputs": {"key": "probe"}},
    }
    return {"id": agent_type, "agent_type": agent_type, **probes[agent_type]}
