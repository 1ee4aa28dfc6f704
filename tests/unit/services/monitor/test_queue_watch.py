from collections.abc import Sequence
from typing import cast

import pytest

from contracts import topology
from contracts.topology import Queue, QueueKind
from services.monitor.queue_watch import Known, QueueWatch
from services.runtime.bus.base import Bus, BusUnavailable, QueueFigures
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from tests.support.buses import frame

START = 1_800_000_000.0


class Broker:
    """Says what a test says that queues hold, and notes which it was asked for."""

    def __init__(self) -> None:
        self.holds: dict[str, int] = {}
        self.asked: list[list[str]] = []
        self.away = False

    async def measure(self, queues: Sequence[Queue]) -> dict[str, QueueFigures]:
        if self.away:
            raise BusUnavailable("gone")
        self.asked.append([queue.name for queue in queues])
        return {
            queue.name: QueueFigures(self.holds[queue.name], None, 1) for queue in queues if queue.name in self.holds
        }


def known(*names: str) -> list[Known]:
    return [Known(Queue(name, ()), "owner") for name in names]


def instances(count: int) -> list[Known]:
    return [Known(topology.agent_queue("clerk", f"a{i}"), "clerk", instance=True) for i in range(count)]


def watching(broker: Broker) -> QueueWatch:
    return QueueWatch(cast(Bus, broker))


async def test_growth_is_that_of_the_last_minute() -> None:
    broker = Broker()
    watch = watching(broker)
    growths = []
    for i in range(40):
        # It grows by one a second for 100 seconds and then stands still.
        broker.holds["q"] = min(5 * i, 100)
        await watch.look(known("q"), START + 5 * i)
        growths.append(watch.measured["q"].growth)
    assert growths[0] is None
    assert growths[1:21] == [pytest.approx(1.0)] * 20
    assert growths[26] == pytest.approx(0.5)
    assert growths[33:] == [0.0] * 7
    assert watch.measured["q"].period == pytest.approx(60.0)


async def test_a_queue_that_is_gone_is_measured_no_more_and_begins_anew() -> None:
    broker = Broker()
    broker.holds = {"a": 1, "b": 2}
    watch = watching(broker)
    await watch.look(known("a", "b"), START)
    await watch.look(known("a", "b"), START + 5)
    del broker.holds["b"]
    await watch.look(known("a", "b"), START + 10)
    assert set(watch.measured) == {"a"}
    await watch.look(known("b"), START + 15)
    assert set(watch.measured) == set()
    broker.holds["b"] = 9
    await watch.look(known("b"), START + 20)
    assert (watch.measured["b"].figures.ready, watch.measured["b"].growth) == (9, None)


async def test_what_was_measured_stays_while_the_broker_is_away() -> None:
    broker = Broker()
    broker.holds = {"a": 1}
    watch = watching(broker)
    await watch.look(known("a"), START)
    broker.away = True
    with pytest.raises(BusUnavailable):
        await watch.look(known("a"), START + 5)
    assert watch.measured["a"].at == START


async def test_very_many_queues_of_agents_are_measured_in_turn() -> None:
    broker = Broker()
    agents = instances(250)
    broker.holds = {"q": 0, **{one.queue.name: 1 for one in agents}}
    watch = watching(broker)
    for i in range(3):
        await watch.look([*known("q"), *agents], START + 5 * i)
        assert watch.complete is (i == 2)
    assert [len(asked) for asked in broker.asked] == [101, 101, 101]
    assert len(watch.measured) == 251
    assert [asked[0] for asked in broker.asked] == ["q"] * 3
    # An agent that was deleted is gone with the next look, whether it was its turn or not.
    await watch.look([*known("q"), *agents[:10]], START + 20)
    assert len(watch.measured) == 11


async def test_over_a_bus() -> None:
    bus = DirectBus(DirectBroker())
    await bus.start()
    queue = Queue("q", (topology.command("q"),), QueueKind.WORK)
    await bus.declare(queue)
    await bus.publish([frame(topology.command("q")) for _ in range(3)])
    watch = QueueWatch(bus)
    await watch.look([Known(queue, "owner"), *known("other")], START)
    assert watch.figures == {"q": QueueFigures(ready=3, unacked=0, consumers=0)}
    await bus.close()
