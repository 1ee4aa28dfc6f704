"""Shards go from replicas that have too many to those that have none, and then stay."""

from collections import Counter

import pytest
import structlog

from contracts import topology
from contracts.topology import shard_key
from services.orchestrator.affinity import HEARD_WITHIN, Affinity
from services.orchestrator.shards import PERIOD, Shards, period_of, surplus
from services.runtime.bus.base import Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from tests.support.buses import frame

KEYS = tuple(queue.bindings[0].key for queue in topology.orchestrator_shards())


# ---- which


@pytest.mark.parametrize(
    ("heard", "replicas", "shards", "given_up"),
    [
        ("abcd", 1, 4, ""),
        ("abcd", 2, 4, "cd"),
        ("abcd", 3, 4, "bcd"),
        ("ab", 3, 4, "b"),
        ("a", 3, 4, ""),
        ("", 3, 4, ""),
        ("abcd", 9, 4, "bcd"),
        ("a", 9, 4, ""),
        ("abcdefghijkl", 5, 12, "cdefghijkl"),
        ("abcd", 3, 12, ""),
        ("abcd", 0, 4, ""),
    ],
)
def test_what_is_beyond_the_share_is_given_up_and_never_home(
    heard: str, replicas: int, shards: int, given_up: str
) -> None:
    assert surplus(tuple(heard), replicas, shards) == tuple(given_up)


@pytest.mark.parametrize("shards", [4, 12])
def test_shares_leave_one_for_everybody(shards: int) -> None:
    for replicas in range(1, shards + 1):
        share = len("x" * shards) - len(surplus("x" * shards, replicas, shards))
        assert share * (replicas - 1) < shards
        assert share >= 1


def test_replicas_look_at_times_of_their_own() -> None:
    periods = [period_of(f"replica {number}") for number in range(50)]
    assert len(set(periods)) == 50
    assert all(PERIOD <= period < 1.5 * PERIOD for period in periods)
    assert periods == [period_of(f"replica {number}") for number in range(50)]


# ---- replicas on one broker


class Replica:
    """What an orchestrator does with shards: it hears from them and asks for the results of its executions at home."""

    def __init__(self, broker: DirectBroker, name: str) -> None:
        self.bus = DirectBus(broker)
        self.affinity = Affinity()
        self.shards = Shards(self.bus, self.affinity, name)
        self.heard: Counter[str] = Counter()
        self.bus.subscribe(topology.orchestrator_commands(), self._hear, prefetch=1)
        for queue in topology.orchestrator_shards():
            self.bus.subscribe(queue, self._hear, prefetch=10)

    async def _hear(self, delivery: Delivery) -> None:
        self.heard[delivery.routing_key] += 1
        self.affinity.heard_from(delivery.routing_key)
        await delivery.ack()


class Replicas:
    def __init__(self) -> None:
        self.broker = DirectBroker()
        self.all: list[Replica] = []

    async def join(self, count: int = 1) -> None:
        for _ in range(count):
            replica = Replica(self.broker, f"replica {len(self.all)}")
            await replica.bus.start()
            self.all.append(replica)

    async def leave(self, replica: Replica) -> None:
        self.all.remove(replica)
        await replica.bus.stop_consuming()
        await replica.bus.close()

    async def live(self, looks: int) -> int:
        """Everybody has results of fifty executions a look; returns how many shards were given up."""
        moved = 0
        for look in range(looks):
            for number, replica in enumerate(self.all):
                keys = [replica.affinity.reply_key(f"{number}.{look}.{one}") for one in range(50)]
                await replica.bus.publish([frame(topology.shard(key)) for key in keys])
            moved += sum([len(await replica.shards.look()) for replica in self.all])
        return moved

    def share(self) -> list[float]:
        """Of the results, since the last question."""
        counts = [replica.heard.total() for replica in self.all]
        for replica in self.all:
            replica.heard.clear()
        return [count / sum(counts) for count in counts]


@pytest.mark.parametrize("count", range(2, len(KEYS) + 1))
async def test_whoever_joins_has_a_share_and_then_nothing_moves(count: int) -> None:
    replicas = Replicas()
    await replicas.join()
    await replicas.live(4)
    assert replicas.share() == [1.0]
    await replicas.join(count - 1)
    assert await replicas.live(4 * len(KEYS)) > 0
    replicas.share()
    assert await replicas.live(20) == 0
    assert replicas.share() == pytest.approx([1 / count] * count, abs=0.01)
    homes = [replica.affinity.reply_key("any") for replica in replicas.all]
    assert len(set(homes)) == count


async def test_the_shards_of_who_leaves_go_on() -> None:
    replicas = Replicas()
    await replicas.join(3)
    await replicas.live(30)
    await replicas.leave(replicas.all[0])
    await replicas.live(30)
    replicas.share()
    assert await replicas.live(10) == 0
    assert replicas.share() == pytest.approx([0.5, 0.5], abs=0.01)


async def test_more_replicas_than_shards_come_to_rest() -> None:
    replicas = Replicas()
    await replicas.join(len(KEYS) + 2)
    await replicas.live(6 * len(KEYS))
    replicas.share()
    assert await replicas.live(10) == 0
    shares = replicas.share()
    assert sum(share > 0 for share in shares) == len(KEYS)
    assert max(shares) < 2 / len(KEYS)


async def test_a_replica_alone_and_one_that_restarts_move_nothing() -> None:
    replicas = Replicas()
    await replicas.join()
    assert await replicas.live(10) == 0
    await replicas.join()
    assert await replicas.live(1) == 0, "it may only be there for a moment"
    await replicas.leave(replicas.all[1])
    assert await replicas.live(10) == 0


async def test_what_is_given_up_is_said() -> None:
    replicas = Replicas()
    await replicas.join()
    await replicas.live(3)
    await replicas.join(len(KEYS) - 1)
    with structlog.testing.capture_logs() as lines:
        moved = await replicas.live(2)
    said = [line for line in lines if line["event"] == "shard given to the next in line"]
    assert len(said) == moved == len(KEYS) - 1
    assert {line["shard"] for line in said} < set(KEYS)
    assert {line["replicas"] for line in said} == {len(KEYS)}


async def test_without_a_broker_it_waits() -> None:
    replica = Replica(DirectBroker(), "r")
    replica.affinity.heard_from(KEYS[0])
    for _ in range(3):
        assert await replica.shards.look() == ()


# ---- what is heard


def test_home_is_what_was_heard_from_first_and_goes_when_it_is_silent() -> None:
    affinity = Affinity()
    affinity.heard_from("shard.1")
    for _ in range(HEARD_WITHIN):
        affinity.look()
        affinity.heard_from("shard.2")
        assert affinity.reply_key("e") == "shard.1"
    affinity.look()
    assert affinity.reply_key("e") == "shard.2"
    for _ in range(HEARD_WITHIN + 1):
        heard = affinity.look()
    assert heard == ()
    assert affinity.reply_key("e") == shard_key("e")


def test_a_shard_that_was_left_counts_no_more_until_it_is_heard_from() -> None:
    affinity = Affinity()
    for key in ("shard.1", "shard.2", "shard.3"):
        affinity.heard_from(key)
    affinity.left("shard.2")
    assert affinity.look() == ("shard.1", "shard.3")
    affinity.heard_from("shard.2")
    assert affinity.look() == ("shard.1", "shard.3", "shard.2")
