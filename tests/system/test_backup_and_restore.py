"""Everything is lost: processes, store and broker. A backup that was made under load brings it back, and what was open
goes on to its end."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.history import ExecutionStarted, LogEntry
from scripts.backups.folder import backups_in
from scripts.backups.manifest import read_manifest
from scripts.servers import Server, find_mongodb, find_postgresql, find_rabbitmq
from services.runtime.security.principal import SenderKind
from services.runtime.settings import Settings
from services.runtime.store.base import Page, Store
from services.runtime.store.open import open_store
from tests.conftest import found_or_not_run, in_ci
from tests.support.api_access import HEADERS
from tests.support.cluster import ROOT, Cluster
from tests.support.signing import add_key
from tests.support.stores import started

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq]

SERVICES = ("orchestrator", "registry", "dead_letters", "access", "auditor", "edge")
BEFORE = 30  # executions that are accepted before the backup begins
AT_ONCE = 6
STORES: dict[str, Callable[[], Server]] = {
    "mongodb": lambda: find_mongodb(own=True, containers=False),
    "postgres": lambda: find_postgresql(own=True, containers=False, install=in_ci()),
}
KINDS = [pytest.param("mongodb", marks=pytest.mark.mongodb), pytest.param("postgres", marks=pytest.mark.postgres)]


def definition(name: str, until: str = "") -> dict[str, Any]:
    """Three pairs of steps side by side, half a second each, and one for the agent that was made over the API. It
    does not end before there is a file ``until``, where that is given."""
    steps: list[dict[str, Any]] = [
        {
            "id": "named",
            "agent_type": "worker",
            "agent_id": "kept",
            "action": "work",
            "inputs": {"key": f"{name}/named"},
        }
    ]
    for i in range(3):
        inputs = {"milliseconds": 500, "key": f"{name}/a{i}"}
        steps.append({"id": f"a{i}", "agent_type": "worker", "action": "work", "inputs": inputs})
        after = {"milliseconds": 500, "key": f"{name}/b{i}", "after": f"a{i}.output.key", "until": "" if i else until}
        steps.append({"id": f"b{i}", "agent_type": "worker", "action": "work", "inputs": after, "timeout": 180})
    return {"name": name, "steps": steps}


STEPS = {"named", *(f"{letter}{i}" for letter in "ab" for i in range(3))}


class World:
    """A store, a broker and processes of one life; the folder of keys outlives it."""

    def __init__(self, folder: Path, keys: Path, store: Server, broker: Server) -> None:
        folder.mkdir()
        self.environment = {
            "COMMUNICATION_PROTOCOL": "rabbitmq",
            "RABBITMQ_URL": broker.url,
            "DATABASE_URL": store.url,
            "MESSAGE_SIGNING": "required",
            "MESSAGE_KEYS": str(keys),
        }
        self.cluster = Cluster(folder, self.environment)

    def start(self) -> None:
        self.cluster.start(*SERVICES, "worker", "worker#2")
        self.cluster.wait_until_ready("worker")

    def run(self, *command: str) -> str:
        """What a command said that ended well."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def entries(self) -> dict[str, list[LogEntry]]:
        """The log of every execution that has a header, straight from the store."""

        async def read() -> dict[str, list[LogEntry]]:
            store = open_store(Settings(database_url=self.environment["DATABASE_URL"]))  # type: ignore[call-arg]
            async with started(store):
                return await store.read_log(dict.fromkeys(await _open_executions(store), 0))

        return asyncio.run(read())


async def _open_executions(store: Store) -> list[str]:
    headers, more = await store.open_headers(Page(limit=10_000))
    assert more is None
    return [header.execution_id for header in headers]


class Load:
    """Starts executions over the API until it is stopped, a few at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopped = threading.Event()
        self.accepted: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(AT_ONCE)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        with httpx.Client(headers=HEADERS, timeout=30) as client:
            count = 0
            while not self._stopped.is_set():
                body = {"definition": definition(f"load-{number}-{count}")}
                answer = client.post(f"{self._url}/executions", json=body)
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["execution_id"])
                count += 1
                self._stopped.wait(0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_under_load_brings_everything_back_and_what_was_open_ends(tmp_path: Path, kind: str) -> None:
    keys, backups = tmp_path / "keys", tmp_path / "backups"
    for name in SERVICES:
        add_key(keys, name)
    add_key(keys, "worker", SenderKind.AGENT, ["worker"])

    with ExitStack() as first:
        world = _new_world(first, tmp_path / "first", keys, kind)
        world.start()
        with _client(world) as client:
            config = {"ledger": str(tmp_path / "named")}
            (tmp_path / "named").touch()
            kept = client.post("/agents", json={"agent_type": "worker", "agent_id": "kept", "config": config})
            assert kept.status_code in (201, 202), kept.text
            workflow = client.post("/workflows", json=definition("stored")).json()["workflow_id"]
            key = client.post("/keys", json={"name": "zoe", "role": "viewer"}).json()["key"]
        load = Load(world.cluster.url)
        load.start()
        try:
            _until(lambda: len(load.accepted) >= BEFORE)
            there_before = list(load.accepted)
            # Whatever stands still when: these are open when the backup is made.
            lost = tmp_path / "the first is lost"
            for number in range(AT_ONCE):
                world.cluster.start_execution(definition(f"load-held-{number}", until=str(lost)))
            world.run("scripts/backup.py", "create", str(backups))
        finally:
            load.stop()
        world.cluster.close()  # kill -9
        lost.touch()

    (place,) = backups_in(backups)
    with ExitStack() as second:
        world = _new_world(second, tmp_path / "second", keys, kind)
        told = world.run("scripts/backup.py", "restore", str(place))
        assert "restored into database conclave" in told
        open_then = world.entries()
        done_then = {
            f"{_name(log)}/{event.step}"
            for log in open_then.values()
            for entry in log
            for event in entry.events
            if event.kind == "step_succeeded"
        }
        assert len(open_then) >= AT_ONCE, "nothing was open when the backup was made"
        world.start()
        ended = world.cluster.wait_until_ended([*there_before, *open_then])
        assert Counter(execution["status"] for execution in ended) == {"completed": len(there_before) + len(open_then)}
        again: Counter[str] = Counter()
        for execution_id in {*there_before, *open_then}:
            events = world.cluster.history(execution_id)
            again.update(event["reason"] for event in events if event["kind"] == "step_resent")
            once = Counter(event["step"] for event in events if event["kind"] == "step_succeeded")
            assert once == dict.fromkeys(STEPS, 1), execution_id
        # At once, and not when their leases run out, minutes later.
        assert set(again) == {"restart"}, again
        # Nobody did again what the backup says was done.
        assert done_then.isdisjoint(world.cluster.ledger.read_text().splitlines())
        names = {execution["workflow_name"] for execution in ended}
        assert all(name.startswith("load-") for name in names), names

        with _client(world) as client:
            assert client.get(f"/workflows/{workflow}").status_code == 200
            assert client.get("/agents/kept").json()["agent_id"] == "kept"
            anew = client.post(f"/workflows/{workflow}/execute", json={})
            assert anew.status_code == 202, anew.text
        assert httpx.get(f"{world.cluster.url}/workflows", headers={"X-API-Key": key}).status_code == 200
        assert httpx.get(f"{world.cluster.url}/workflows", headers={"X-API-Key": key[:-1] + "_"}).status_code == 401
        (last,) = world.cluster.wait_until_ended([anew.json()["execution_id"]])
        assert last["status"] == "completed"
        assert world.cluster.terminate("auditor") == 0
        report = json.loads(world.run("-m", "services", "audit", "verify", "--json"))
        assert (report["whole"], report["signed_to"]) == (True, report["end"])
        assert report["end"] > read_manifest(place).of("audit").rows > 0


def _new_world(stack: ExitStack, folder: Path, keys: Path, kind: str) -> World:
    store = stack.enter_context(found_or_not_run(STORES[kind]))
    broker = stack.enter_context(found_or_not_run(lambda: find_rabbitmq(own=True, install=in_ci())))
    world = World(folder, keys, store, broker)
    stack.callback(world.cluster.close)
    return world


def _client(world: World) -> httpx.Client:
    return httpx.Client(base_url=world.cluster.url, headers=HEADERS, timeout=30)


def _name(log: list[LogEntry]) -> str:
    begun = log[0].events[0]
    assert isinstance(begun, ExecutionStarted)
    return begun.workflow_name


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
