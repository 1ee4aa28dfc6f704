"""The real system for a test: every service a process of its own, or all of them in one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from scripts.servers import free_port
from services.__main__ import service_names
from tests.support import patience
from tests.support.api_access import HEADERS, store_admin_key

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


class Cluster:
    """Processes of ``python -m services``, with their logs in a folder.

    Each process has a name: the service's, or the service's with a suffix for a second one (``orchestrator#2``);
    ``all`` is every service in one process, ``worker`` the tests' own agent, whose ledger is ``self.ledger``. Before an
    edge is started the tests' admin key is stored, whether there will be an access service or not. Edges wait for as
    long as it takes a machine that stands still to go on.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._folder = folder
        self._client = httpx.Client(timeout=30, headers=HEADERS)
        self._key_is_stored = False
        self._environment = {
            **os.environ,
            "ANSWER_TIMEOUT": f"{patience.SECONDS:g}",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "API_PORT": str(self.port),
            "METRICS_PORT": "0",
            "LOG_LEVEL": "INFO",
            "WORKER_LEDGER": str(self.ledger),
            **environment,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._said_before: dict[str, int] = {}  # characters in the log when a process was started, by its name

    def start(self, *names: str, extra: Mapping[str, str] | None = None) -> None:
        """Start processes; ``extra`` is added to their environment."""
        if not self._key_is_stored and {"edge", "all"} & {name.partition("#")[0] for name in names}:
            store_admin_key(self.database_url)
            self._key_is_stored = True
        for name in names:
            with (self._folder / f"{name}.log").open("ab") as log:
                self._said_before[name] = len(self.log(name))
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *_module(name.partition("#")[0])],
                    cwd=ROOT,
                    env={**self._environment, **(extra or {})},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    @property
    def database_url(self) -> str:
        return self._environment["DATABASE_URL"]

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

    def signal(self, name: str) -> None:
        """Tell it to end."""
        self._processes[name].send_signal(signal.SIGTERM)

    def wait(self, name: str) -> int:
        """Its exit code, once it has ended."""
        return self._processes.pop(name).wait(60)

    def terminate(self, name: str) -> int:
        self.signal(name)
        return self.wait(name)

    def close(self) -> None:
        for name in list(self._processes):
            self.kill(name)
        self._client.close()

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def told_again(self) -> bool:
        """Whether an orchestrator had to commit or to tell something once more, because the store or the broker kept it
        waiting for seconds. Then a step may have been sent twice and done twice, by their own promise: its result
        counts once."""
        names = ("orchestrator", "all")
        paths = [path for path in self._folder.glob("*.log") if path.stem.partition("#")[0] in names]
        return any(word in path.read_text() for path in paths for word in ("commit put off", "telling put off"))

    def check_that_each_was_done(self, keys: Collection[str], lines: Mapping[str, int]) -> None:
        """``lines``: how often each key of work stands in the ledger. Each does, and once unless an orchestrator told
        its hosts again."""
        assert lines.keys() == set(keys)
        if not self.told_again():
            assert lines == dict.fromkeys(keys, 1)

    def keep_alive(self, name: str, executions: Sequence[str], extra: Mapping[str, str] | None = None) -> None:
        """Until they have ended, do what a supervisor does: start the process again whenever it has died."""
        deadline = time.monotonic() + 2 * PATIENCE  # one start after the other
        while any(self.execution(one)["status"] == "running" for one in executions):
            assert time.monotonic() < deadline, self.log(name)
            if not self.alive(name):
                self.start(name, extra=extra)
            time.sleep(0.1)

    # ---- use

    def wait_until_started(self, *names: str) -> None:
        """Each of these processes, as it was started last, has said of all its services that they started. A signal
        that comes before a process takes any simply ends it."""
        deadline = time.monotonic() + PATIENCE
        for name in names:
            services = len(service_names()) if name.partition("#")[0] == "all" else 1
            while self.log(name)[self._said_before[name] :].count("service started") < services:
                assert self.alive(name), self.log(name)[-4_000:]
                assert time.monotonic() < deadline, f"{name} never started: {self.log(name)[-4_000:]}"
                time.sleep(0.05)

    def wait_until_ready(self, *agent_types: str) -> None:
        """The edge answers, a definition that uses these agent types passes its checks, and every service of every
        process has started: one of those that only listen may be the last."""
        steps = [_probe(agent_type) for agent_type in agent_types]
        definition = {"name": "probe", "steps": steps}
        deadline = time.monotonic() + PATIENCE
        said = ""
        while time.monotonic() < deadline and all(self.alive(name) for name in self._processes):
            try:
                answer = self._client.post(f"{self.url}/workflows", json=definition, timeout=5)
                if answer.status_code == 201:
                    self.wait_until_started(*self._processes)
                    return
                said = answer.text
            except httpx.HTTPError as error:
                said = repr(error)
            time.sleep(0.2)
        raise AssertionError(f"not ready: {said}\n" + "\n".join(self._tails()))

    def start_execution(self, definition: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> str:
        body = {"definition": definition, "inputs": inputs or {}}
        once = {"Idempotency-Key": uuid.uuid4().hex}
        answer = _unless_busy(lambda: self._client.post(f"{self.url}/executions", json=body, headers=once, timeout=30))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["execution_id"])

    def execution(self, execution_id: str) -> dict[str, Any]:
        answer = _unless_busy(lambda: self._client.get(f"{self.url}/executions/{execution_id}", timeout=30))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def history(self, execution_id: str) -> list[dict[str, Any]]:
        """Every event, in order, over all pages."""
        events: list[dict[str, Any]] = []
        after = 0
        place = f"{self.url}/executions/{execution_id}/history"
        while True:
            answer = _unless_busy(lambda after=after: self._client.get(place, params={"after": after}, timeout=30))
            assert answer.status_code == 200, answer.text
            page = answer.json()
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
        """The end of each process's log, less its lines of requests: those of who waits would be all one sees."""
        logs = ((path.stem, path.read_text().splitlines()) for path in self._folder.glob("*.log"))
        return [
            f"--- {name}\n" + "\n".join([line for line in lines if '"event":"request"' not in line][-15:])
            for name, lines in logs
        ]


def whole_lines(text: str) -> list[str]:
    """Of a file that is being written: what comes after the last end of a line is not there yet as a whole."""
    return text.rpartition("\n")[0].splitlines()


def _unless_busy(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer, asked for again while it is the 503 of a busy machine, whose clients are told to ask again."""
    until = time.monotonic() + PATIENCE
    while (answer := ask()).status_code == 503 and time.monotonic() <= until:
        time.sleep(1)
    return answer


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
