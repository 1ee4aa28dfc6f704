"""Three orchestrators and six hosts over one broker and one store, as processes; replicas join, leave and die under
load. Everybody has a share, nothing is lost, and nothing counts twice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts.envelope import new_id
from scripts.server_processes import RabbitServer
from scripts.servers import find_rabbitmq
from tests.conftest import found_or_not_run, in_ci
from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster
from tests.support.scaling import (
    MOST_READY,
    STEPS,
    TYPES,
    Account,
    Fleet,
    Load,
    account_of,
    closed_load,
    consumers_of_shards,
    two_diamonds,
    until,
)

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

ORCHESTRATORS = ("orchestrator#1", "orchestrator#2", "orchestrator#3")
HOSTS = tuple(f"{agent_type}#{number}" for agent_type in TYPES for number in (1, 2))
IN_FLIGHT = 20
MEASURED = 40  # executions after which shares are compared
FAIR = 1 / 3  # of an even share is what everybody has at least
STARTED = "conclave_executions_started_total"
ENDED = "conclave_steps_ended_total"


@pytest.fixture
def rabbit() -> Iterator[RabbitServer]:
    with found_or_not_run(lambda: find_rabbitmq(own=True, containers=False, install=in_ci())) as server:
        assert isinstance(server, RabbitServer)
        yield server


@pytest.fixture
def fleet(tmp_path: Path, rabbit: RabbitServer, mongo_url: str) -> Iterator[Fleet]:
    database = f"{mongo_url.rsplit('/', 1)[0]}/scaling_{new_id()[:12]}"
    environment = {"COMMUNICATION_PROTOCOL": "rabbitmq", "RABBITMQ_URL": rabbit.url, "DATABASE_URL": database}
    cluster = Cluster(tmp_path, environment)
    yield Fleet(cluster, tmp_path)
    cluster.close()


@pytest.fixture
def workflow_id(fleet: Fleet) -> str:
    """The workflow of the load, stored once everybody is there who has a part in it."""
    fleet.start("registry", "edge", *ORCHESTRATORS, *HOSTS)
    fleet.wait_until_ready("registry", "edge", *ORCHESTRATORS, *HOSTS)
    said: list[str] = [""]

    def stored() -> bool:
        answer = httpx.post(f"{fleet.cluster.url}/workflows", json=two_diamonds(), headers=HEADERS, timeout=30)
        said[0] = answer.text
        return answer.status_code == 201

    until(stored, lambda: said[0])
    return str(
        httpx.get(f"{fleet.cluster.url}/workflows", headers=HEADERS, timeout=30).json()["items"][0]["workflow_id"]
    )


def accounted(fleet: Fleet, load: Load) -> Account:
    """Everything that was accepted completed, every step succeeded exactly once in the log, and was done by a host."""
    assert set(load.ended.values()) == {"completed"}
    account = account_of(fleet.cluster.database_url, load.started, fleet.done())
    assert account.wrong == []
    assert account.statuses == {"completed": len(load.started)}
    steps = {f"{execution_id}/{step}" for execution_id in load.started for step in STEPS}
    assert account.succeeded == dict.fromkeys(steps, 1)
    assert account.runs.keys() == steps
    return account


def nothing_twice(fleet: Fleet, account: Account) -> None:
    """Unless the broker was so slow that a commit was told once more, which is a repeat by its own promise."""
    if not fleet.cluster.told_again():
        assert account.repeated == 0, account.runs.most_common(3)


def test_replicas_join_leave_and_die_under_load(fleet: Fleet, rabbit: RabbitServer, workflow_id: str) -> None:
    _everybody_has_a_share(fleet, rabbit, workflow_id)
    left = _some_join_and_some_leave(fleet, rabbit, workflow_id)
    _some_are_killed(fleet, rabbit, workflow_id, left)


def _everybody_has_a_share(fleet: Fleet, rabbit: RabbitServer, workflow_id: str) -> None:
    _comes_to_rest(fleet, rabbit, workflow_id, "settling", ORCHESTRATORS)
    _shares_are_fair(fleet, rabbit, workflow_id, "even", ORCHESTRATORS)
    with closed_load(fleet.cluster, rabbit.url, workflow_id, "hosts", IN_FLIGHT) as load:
        measured: list[Counter[str]] = []

        def every_host_has_a_share() -> bool:
            """Whoever stands still for seconds leaves its own to the other of its type, and has one when it goes on."""
            before = _by_host(fleet)
            load.wait_for(MEASURED)
            measured.append(_by_host(fleet) - before)
            return _is_fair(measured[-1], HOSTS)

        until(every_host_has_a_share, lambda: f"one has no fair share: {measured}")
    nothing_twice(fleet, accounted(fleet, load))
    assert measured[-1].keys() == set(HOSTS)


def _some_join_and_some_leave(fleet: Fleet, rabbit: RabbitServer, workflow_id: str) -> tuple[str, ...]:
    """Returns the orchestrators that are left."""
    joined = tuple(f"{agent_type}#3" for agent_type in TYPES)
    first, *others = ORCHESTRATORS
    left = (*others, "orchestrator#4")
    with closed_load(fleet.cluster, rabbit.url, workflow_id, "moving", IN_FLIGHT) as load:
        load.wait_for(10)
        fleet.start("orchestrator#4", *joined)
        fleet.wait_until_ready("orchestrator#4", *joined)
        until(lambda: _have_done(fleet, joined, 10), lambda: f"who joined has too little: {_by_host(fleet)}")
        until(lambda: bool(fleet.heard("orchestrator#4")), lambda: f"nobody hands on a shard: {_heard(fleet, left)}")

        assert [fleet.terminate(name) for name in (first, "alpha#1", "beta#1")] == [0, 0, 0]
        load.wait_for(15)
    nothing_twice(fleet, accounted(fleet, load))
    _comes_to_rest(fleet, rabbit, workflow_id, "after-leaving", left)
    _shares_are_fair(fleet, rabbit, workflow_id, "without-those", left)
    return left


def _some_are_killed(fleet: Fleet, rabbit: RabbitServer, workflow_id: str, orchestrators: tuple[str, ...]) -> None:
    killed = (orchestrators[0], "alpha#2", "gamma#2")
    left = orchestrators[1:]
    with closed_load(fleet.cluster, rabbit.url, workflow_id, "killed", IN_FLIGHT) as load:
        load.wait_for(10)
        for name in killed:
            fleet.kill(name)
            load.wait_for(10)
        load.wait_for(15)
    account = accounted(fleet, load)
    # What was in hand may have been done before it was, and is done once more: as much as was open, at each death.
    assert account.repeated <= len(killed) * IN_FLIGHT * MOST_READY
    if not fleet.cluster.told_again():
        assert max(account.runs.values()) <= 1 + len(killed)
    _comes_to_rest(fleet, rabbit, workflow_id, "after-killing", left)
    _shares_are_fair(fleet, rabbit, workflow_id, "without-the-dead", left)


def _comes_to_rest(
    fleet: Fleet, rabbit: RabbitServer, workflow_id: str, name: str, orchestrators: tuple[str, ...]
) -> None:
    """Shards go from one to the next for a few looks, and then everybody has a share of what is done."""
    with closed_load(fleet.cluster, rabbit.url, workflow_id, name, IN_FLIGHT) as load:
        shares: list[Counter[str]] = []

        def everybody_has_a_share() -> bool:
            before = _counted(fleet, ENDED, orchestrators)
            load.wait_for(MEASURED)
            shares.append(_counted(fleet, ENDED, orchestrators) - before)
            return _is_fair(shares[-1], orchestrators)

        until(everybody_has_a_share, lambda: f"one has no fair share: {shares}; {_heard(fleet, orchestrators)}")
    nothing_twice(fleet, accounted(fleet, load))


def _shares_are_fair(
    fleet: Fleet, rabbit: RabbitServer, workflow_id: str, name: str, orchestrators: tuple[str, ...]
) -> None:
    """Each of those that are there, once all is at rest, takes its share of the starts and of the results."""
    before = {metric: _counted(fleet, metric, orchestrators) for metric in (STARTED, ENDED)}
    with closed_load(fleet.cluster, rabbit.url, workflow_id, name, IN_FLIGHT) as load:
        load.wait_for(MEASURED)
    nothing_twice(fleet, accounted(fleet, load))
    wanted = {STARTED: len(load.started), ENDED: len(load.started) * len(STEPS)}
    for metric, total in wanted.items():
        shares = _counted(fleet, metric, orchestrators) - before[metric]
        assert shares.total() == total, "each was committed by one of them"
        assert _is_fair(shares, orchestrators), (metric, shares)
    each = (len(orchestrators), 1)  # but for who is just going to the end of the line
    until(
        lambda: set(consumers_of_shards(rabbit).values()) == {each},
        lambda: f"not {each} everywhere: {consumers_of_shards(rabbit)}",
    )


def _is_fair(shares: Counter[str], among: tuple[str, ...]) -> bool:
    return min(shares[one] for one in among) >= FAIR * shares.total() / len(among)


def _counted(fleet: Fleet, metric: str, orchestrators: tuple[str, ...]) -> Counter[str]:
    return Counter({name: int(fleet.counted(name, metric)) for name in orchestrators})


def _heard(fleet: Fleet, orchestrators: tuple[str, ...]) -> dict[str, dict[str, float]]:
    return {name: fleet.heard(name) for name in orchestrators}


def _by_host(fleet: Fleet) -> Counter[str]:
    return Counter(host for _, host in fleet.done())


def _have_done(fleet: Fleet, hosts: tuple[str, ...], least: int) -> bool:
    done = _by_host(fleet)
    return all(done[host] >= least for host in hosts)
