"""Many replicas of real services over one broker: hosts that count what they do, a load that waits for its ends, and
what the log and the hosts say of the same steps."""

import asyncio
import contextlib
import itertools
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic_core import from_json

from contracts import topology
from contracts.envelope import new_id
from contracts.execution import ExecutionCompleted, StartExecution
from contracts.history import LogEntry
from scripts.server_processes import RabbitServer
from scripts.servers import free_port
from services.runtime.bus.base import Delivery
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.service import Outbox
from services.runtime.settings import Settings
from services.runtime.store.open import open_store
from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster, whole_lines
from tests.support.rabbitmq_users import rabbitmqctl
from tests.support.sending import send_until_taken

PATIENCE = 120.0
TYPES = ("alpha", "beta", "gamma")
STEPS = ("first", "left", "right", "up", "down", "last")
MOST_READY = 2  # steps of one execution that can run at once
_OVER_REST = 4  # every so many starts go through the API, the others straight onto the broker
_ENDS = ("execution.completed", "execution.failed", "execution.cancelled", "command.refused")
_PLUGIN = """\
import os
import time
from pathlib import Path

from pydantic import BaseModel

from services.runtime.agent import BaseAgent, capability, current_step


class Task(BaseModel):
    milliseconds: int


class Done(BaseModel):
    pid: int


class Counting(BaseAgent):
    agent_type = "{agent_type}"

    @capability("work")
    def work(self, task: Task) -> Done:
        time.sleep(task.milliseconds / 1000)
        step = current_step()
        with Path({ledger!r}).open("a") as lines:
            lines.write(f"{{step.idempotency_key}} {{os.getpid()}}\\n")
        return Done(pid=os.getpid())
"""


def two_diamonds(milliseconds: int = 5) -> dict[str, Any]:
    """Two steps of each type; two of them can run at once."""
    shape = {"first": (), "left": ("first",), "right": ("first",), "up": ("left", "right"), "down": ("left", "right")}
    waits = {**shape, "last": ("up", "down")}
    types = dict(zip(STEPS, ("alpha", "beta", "gamma", "beta", "gamma", "alpha"), strict=True))
    return {
        "name": "two diamonds",
        "steps": [
            {
                "id": step,
                "agent_type": types[step],
                "action": "work",
                "inputs": {"milliseconds": milliseconds},
                "depends_on": list(waits[step]),
            }
            for step in STEPS
        ],
    }


class Fleet:
    """Orchestrators and hosts by name (``orchestrator#2``, ``alpha#1``), each a process of ``python -m services``, with
    what they count about themselves. A host of a type is a plugin agent with that one plugin."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.ledger = folder / "done"
        self.ledger.touch()
        self.host_of_pid: dict[int, str] = {}
        self._ports: dict[str, int] = {}
        self._folder = folder
        for agent_type in TYPES:
            (folder / agent_type).mkdir()
            source = _PLUGIN.format(agent_type=agent_type, ledger=str(self.ledger))
            (folder / agent_type / f"{agent_type}.py").write_text(source, encoding="utf-8")

    def start(self, *names: str) -> None:
        for name in names:
            self._ports[name] = free_port()
            extra = {"METRICS_PORT": str(self._ports[name])}
            kind = name.partition("#")[0]
            if kind in TYPES:
                extra |= {"PLUGIN_FOLDER": str(self._folder / kind), "AGENT_CONCURRENCY": "4"}
            self.cluster.start(self._process(name), extra=extra)
            if kind in TYPES:
                self.host_of_pid[self.cluster.pid(self._process(name))] = name

    def wait_until_ready(self, *names: str) -> None:
        for name in names:
            until(partial(self._is_ready, name), partial(self._not_ready, name))

    def terminate(self, name: str) -> int:
        """SIGTERM; its exit code."""
        return self.cluster.terminate(self._process(name))

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.cluster.kill(self._process(name))

    def log(self, name: str) -> str:
        return self.cluster.log(self._process(name))

    def counted(self, name: str, metric: str, **labels: str) -> float:
        """The sum of a counter of this process over its series with these labels."""
        text = httpx.get(f"http://127.0.0.1:{self._ports[name]}/metrics", timeout=30).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        )

    def heard(self, name: str) -> dict[str, float]:
        """How many messages this orchestrator has taken from each shard, where there are any."""
        queues = [queue.name for queue in topology.orchestrator_shards()]
        taken = {queue: self.counted(name, "conclave_messages_received_total", queue=queue) for queue in queues}
        return {queue: count for queue, count in taken.items() if count}

    def done(self) -> list[tuple[str, str]]:
        """What the hosts did, in order: each time the idempotency key, and the host by name."""
        lines = [line.split(" ") for line in whole_lines(self.ledger.read_text())]
        return [(key, self.host_of_pid[int(pid)]) for key, pid in lines]

    def _is_ready(self, name: str) -> bool:
        assert self.cluster.alive(self._process(name)), self._not_ready(name)
        try:
            address = f"http://127.0.0.1:{self._ports[name]}/health/ready"
            return httpx.get(address, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def _not_ready(self, name: str) -> str:
        return f"{name} is not ready: {self.log(name)[-4_000:]}"

    def _process(self, name: str) -> str:
        kind, _, number = name.partition("#")
        return f"plugin_agent#{kind}{number}" if kind in TYPES else name


class Load:
    """So many executions of one stored workflow are open all the time: when one ends the next is started, on the broker
    or through the API. It says every start again until it is taken."""

    def __init__(self, cluster: Cluster, rabbit_url: str, workflow_id: str, name: str, in_flight: int) -> None:
        self.started: set[str] = set()
        self.ended: dict[str, str] = {}
        self._cluster = cluster
        self._rabbit_url = rabbit_url
        self._workflow_id = workflow_id
        self._name = name
        self._in_flight = in_flight
        self._over = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error

    def raise_its_failure(self) -> None:
        if self._failure is not None:
            raise AssertionError("the load failed") from self._failure

    def still_runs(self) -> bool:
        """True; raises AssertionError if it failed."""
        self.raise_its_failure()
        return True

    def over(self) -> None:
        self._over.set()

    def wait_for(self, more: int) -> None:
        """Until so many more executions have ended."""
        wanted = len(self.ended) + more

        def enough() -> bool:
            return self.still_runs() and len(self.ended) >= wanted

        until(enough, lambda: f"{len(self.ended)} of {wanted} ended")

    async def _run(self) -> None:
        bus = RabbitBus(self._rabbit_url)
        bus.subscribe(topology.events_feed(f"{self._name}.{new_id()}.events", *_ENDS), self._hear, prefetch=100)
        await bus.start()
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=30, headers=HEADERS, limits=limits) as client:
            outbox = Outbox(bus, "edge")
            for number in itertools.count():
                while len(self.started) - len(self.ended) >= self._in_flight and not self._over.is_set():
                    await asyncio.sleep(0.005)
                if self._over.is_set():
                    break
                if number % _OVER_REST:
                    start = StartExecution(
                        execution_id=f"{self._name}-{number}", workflow_id=self._workflow_id, inputs={}
                    )
                    self.started.add(start.execution_id)
                    await send_until_taken(outbox, start, PATIENCE)
                else:
                    self.started.add(await self._post(client, f"{self._name}/{number}"))
            async with asyncio.timeout(PATIENCE):
                while self.started - self.ended.keys():
                    await asyncio.sleep(0.02)
        await bus.stop_consuming()
        await bus.close()

    async def _post(self, client: httpx.AsyncClient, key: str) -> str:
        address = f"{self._cluster.url}/workflows/{self._workflow_id}/execute"
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await client.post(address, json={"inputs": {}}, headers={"Idempotency-Key": key})
                if answer.status_code == 202:
                    return str(answer.json()["execution_id"])
                assert answer.status_code == 503, answer.text  # it may be repeated under its key
                await asyncio.sleep(0.1)

    async def _hear(self, delivery: Delivery) -> None:
        payload = from_json(delivery.body)["payload"]
        status = "completed" if delivery.type == ExecutionCompleted.TYPE else delivery.type
        self.ended[payload.get("execution_id") or payload["subject"]] = status
        await delivery.ack()


@contextlib.contextmanager
def closed_load(cluster: Cluster, rabbit_url: str, workflow_id: str, name: str, in_flight: int) -> Iterator[Load]:
    """The load while the block runs; at its end no more is started, and everything that was has ended."""
    load = Load(cluster, rabbit_url, workflow_id, name, in_flight)
    thread = threading.Thread(target=load.run, name=name, daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.over()
        thread.join(PATIENCE)
    load.raise_its_failure()
    assert not thread.is_alive(), f"never ended: {sorted(load.started - load.ended.keys())[:3]}"


@dataclass(frozen=True, slots=True)
class Account:
    """``succeeded``: how many success events each step (``execution/step``) has in the log; ``statuses`` of the
    executions by their logs; ``wrong``: what else the log should not say; ``runs``: how often hosts did each step."""

    succeeded: Counter[str]
    statuses: Counter[str]
    wrong: list[str]
    runs: Counter[str]

    @property
    def repeated(self) -> int:
        return self.runs.total() - len(self.runs)


def account_of(database_url: str, executions: Iterable[str], done: Sequence[tuple[str, str]]) -> Account:
    """What the store's log says of these executions, and what their hosts wrote down themselves."""
    ids = sorted(executions)
    logs = asyncio.run(_logs(database_url, ids))
    succeeded: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    for execution_id in ids:
        entries = logs.get(execution_id, [])
        if [entry.n for entry in entries] != list(range(1, len(entries) + 1)):
            wrong.append(f"{execution_id}: entries {[entry.n for entry in entries]}")
        for event in (event for entry in entries for event in entry.events):
            if event.kind == "step_succeeded":
                succeeded[f"{execution_id}/{event.step}"] += 1
            elif event.kind == "execution_ended":
                statuses[event.status.value] += 1
            elif event.kind not in ("execution_started", "step_dispatched"):
                wrong.append(f"{execution_id}: {event.kind}")
    mine = set(ids)
    return Account(succeeded, statuses, wrong, Counter(key for key, _ in done if key.partition("/")[0] in mine))


async def _logs(database_url: str, ids: Sequence[str]) -> Mapping[str, list[LogEntry]]:
    store = open_store(Settings.model_validate({"database_url": database_url}))
    await store.start()
    try:
        return await store.read_log(dict.fromkeys(ids, 0))
    finally:
        await store.stop()


def consumers_of_shards(server: RabbitServer) -> dict[str, tuple[int, int]]:
    """By shard queue, as the broker says: how many consumers it has, and how many of them are active."""
    command, environment = rabbitmqctl(server)
    listed = subprocess.run(
        [command, "-q", "list_consumers", "queue_name", "active", "--no-table-headers"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    rows = [line.split("\t") for line in listed.splitlines()]
    return {
        queue.name: (
            sum(name == queue.name for name, _ in rows),
            sum(name == queue.name and active == "true" for name, active in rows),
        )
        for queue in topology.orchestrator_shards()
    }


def until(happens: Callable[[], bool], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)
