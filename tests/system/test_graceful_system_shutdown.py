"""SIGTERM under load, over a real RabbitMQ: what is in hand ends, nothing fails, is lost, done twice or, but for a
trifle, delivered twice."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts import topology
from contracts.envelope import new_id
from scripts.server_processes import RabbitServer
from scripts.servers import find_rabbitmq, free_port
from services.runtime.bus.rabbit import RabbitBus
from tests.conftest import found_or_not_run, in_ci
from tests.support.cluster import PATIENCE, Cluster
from tests.support.rabbitmq_counters import Deliveries, deliveries
from tests.support.steady_load import SteadyLoad, steady_load

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

AGENTS = ("data_agent", "decision_agent", "coordinator_agent", "worker")
ON_THE_WAY = ("edge", "orchestrator", *AGENTS)  # of an execution
BESIDE_IT = ("registry", "access", "auditor", "dead_letters", "monitor")
SERVICES = (*ON_THE_WAY, *BESIDE_IT)
MOST_REDELIVERED = 0.01  # of the messages that were delivered


class Processes:
    """A cluster whose processes have their operations port where the test finds it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._ports: dict[str, int] = {}

    def start(self, *names: str) -> None:
        for name in names:
            self._ports[name] = free_port()
            self.cluster.start(name, extra={"METRICS_PORT": str(self._ports[name])})

    def health(self, name: str, which: str = "ready") -> int:
        """The status of the answer; 0 while there is none."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._ports[name]}/health/{which}", timeout=30).status_code
        except httpx.TransportError:
            return 0

    def wait_until_ready(self, *names: str) -> None:
        deadline = time.monotonic() + PATIENCE
        for name in names:
            while self.health(name) != 200:
                assert self.cluster.alive(name), self.cluster.log(name)[-4_000:]
                assert time.monotonic() < deadline, f"{name} is not ready: {self.cluster.log(name)[-4_000:]}"
                time.sleep(0.05)

    def restart(self, name: str) -> int:
        """End it by SIGTERM and start it again; its exit code."""
        code = self.cluster.terminate(name)
        self.start(name)
        return code


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitServer]:
    with found_or_not_run(lambda: find_rabbitmq(own=True, containers=False, install=in_ci())) as server:
        assert isinstance(server, RabbitServer)
        yield server


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, rabbit: RabbitServer, mongo_url: str) -> Iterator[Processes]:
    """Every service, each a process of its own, ready and used for the first time."""
    folder: Path = tmp_path_factory.mktemp("processes")
    database = f"{mongo_url.rsplit('/', 1)[0]}/graceful_{new_id()[:12]}"
    environment = {"COMMUNICATION_PROTOCOL": "rabbitmq", "RABBITMQ_URL": rabbit.url, "DATABASE_URL": database}
    cluster = Cluster(folder, environment)
    processes = Processes(cluster)
    processes.start(*SERVICES)
    cluster.wait_until_ready(*AGENTS)
    processes.wait_until_ready(*SERVICES)
    yield processes
    cluster.close()


def check(cluster: Cluster, load: SteadyLoad, counted: Deliveries) -> None:
    """Every execution that was started completed, and did its work once: or more often, where an orchestrator told its
    hosts of it once more because the broker kept it waiting."""
    ended = cluster.wait_until_ended(list(load.started.values()))
    assert Counter(execution["status"] for execution in ended) == {"completed": len(load.started)}
    lines = Counter(line for line in cluster.ledger.read_text().splitlines() if line in load.started)
    cluster.check_that_each_was_done(load.started, lines)
    assert counted.redelivered < MOST_REDELIVERED * counted.delivered, counted


def test_sigterm_to_each_service_in_turn(processes: Processes, rabbit: RabbitServer) -> None:
    cluster, before = processes.cluster, deliveries(rabbit)
    codes: dict[str, int] = {}
    with steady_load(cluster, rabbit.url, "turn") as load:
        for name in ON_THE_WAY:
            codes[name] = processes.restart(name)
            processes.wait_until_ready(name)  # or the next would have nothing in hand
        for name in BESIDE_IT:
            codes[name] = processes.restart(name)
        processes.wait_until_ready(*BESIDE_IT)
    assert codes == dict.fromkeys(SERVICES, 0)
    assert len(load.started) > 50
    check(cluster, load, deliveries(rabbit) - before)


def test_a_rolling_restart_of_two_replicas(processes: Processes, rabbit: RabbitServer) -> None:
    cluster, pairs = processes.cluster, ("orchestrator", "orchestrator#2", "worker", "worker#2")
    processes.start("orchestrator#2", "worker#2")
    processes.wait_until_ready(*pairs)
    before = deliveries(rabbit)
    codes: dict[str, int] = {}
    with steady_load(cluster, rabbit.url, "rolling") as load:
        for name in pairs:
            codes[name] = processes.restart(name)
            processes.wait_until_ready(name)
    assert codes == dict.fromkeys(pairs, 0)
    assert len(load.started) > 20
    assert load.asked_again <= len(load.started) // 10  # somebody is there all the time
    check(cluster, load, deliveries(rabbit) - before)
    assert [cluster.terminate(name) for name in ("orchestrator#2", "worker#2")] == [0, 0]


async def test_work_in_hand_ends_and_is_acked_while_nothing_is_ready(
    processes: Processes, rabbit: RabbitServer, tmp_path: Path
) -> None:
    """Ten steps that last until all was looked at, and nobody else who could take them: the host that is told to end
    does them all."""
    cluster, before = processes.cluster, deliveries(rabbit)
    keys = [f"long/{number}" for number in range(10)]
    looked_at = tmp_path / "looked at"
    steps = [
        {"id": f"s{i}", "agent_type": "worker", "action": "work", "inputs": {"key": key, "until": str(looked_at)}}
        for i, key in enumerate(keys)
    ]
    execution_id = cluster.start_execution({"name": "long work", "steps": steps})
    deadline = time.monotonic() + PATIENCE
    while not set(keys) <= set(cluster.ledger.read_text().splitlines()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    processes.wait_until_ready("worker")

    cluster.signal("worker")
    while (status := processes.health("worker")) == 200:
        assert time.monotonic() < deadline
    assert status == 503
    assert processes.health("worker", "live") == 200
    assert cluster.execution(execution_id)["status"] == "running"
    looked_at.touch()
    assert cluster.wait("worker") == 0

    (execution,) = cluster.wait_until_ended([execution_id])
    assert execution["status"] == "completed"
    lines = Counter(cluster.ledger.read_text().splitlines())
    assert [lines[key] for key in keys] == [1] * 10
    assert (deliveries(rabbit) - before).redelivered == 0
    watcher = RabbitBus(rabbit.url)
    await watcher.start()
    queue = topology.agent_type_queue("worker")
    figures = (await watcher.measure([queue]))[queue.name]
    assert (figures.ready, figures.consumers) == (0, 0)
    await watcher.close()
