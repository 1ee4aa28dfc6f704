"""How often RabbitMQ is asked for queues that do not exist, each time with an error in its log."""

from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from contracts.topology import Queue, QueueKind
from services.runtime.bus.base import QueueFigures
from services.runtime.bus.rabbit_measuring import FIRST_REST, LONGEST_REST, Measuring


@dataclass
class Told:
    message_count: int
    consumer_count: int


@dataclass
class Broker:
    """A RabbitMQ with queues, and who was asked for how often."""

    queues: dict[str, Told] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    channels: int = 0
    open: int = 0
    now: float = 1_000.0

    def operation(self, _: str) -> nullcontext[None]:
        return nullcontext()

    def owns(self, queue: Queue) -> bool:
        return queue.name.startswith("own")

    async def open_plain_channel(self) -> "Channel":
        self.channels += 1
        self.open += 1
        return Channel(self)


class Channel:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.is_closed = False

    async def queue_declare(self, name: str, *, passive: bool) -> Told:
        assert passive
        assert not self.is_closed
        self._broker.asked.append(name)
        if name not in self._broker.queues:
            await self.close()
            raise ChannelNotFoundEntity(f"NOT_FOUND - no queue '{name}'")
        return self._broker.queues[name]

    async def close(self) -> None:
        self.is_closed = True
        self._broker.open -= 1


def named(*names: str) -> list[Queue]:
    return [Queue(name, ()) for name in names]


@pytest.fixture
def broker() -> Broker:
    return Broker({"a": Told(3, 1), "b": Told(0, 0)})


@pytest.fixture
def measuring(broker: Broker) -> Measuring:
    return Measuring(broker, lambda: broker.now)  # type: ignore[arg-type]


async def test_queues_that_exist_are_asked_for_over_one_channel(broker: Broker, measuring: Measuring) -> None:
    for _ in range(3):
        assert await measuring.measure(named("a", "b")) == {
            "a": QueueFigures(3, None, 1),
            "b": QueueFigures(0, None, 0),
        }
    assert (broker.channels, broker.open) == (3, 0)


async def test_one_that_does_not_exist_takes_no_other_with_it(broker: Broker, measuring: Measuring) -> None:
    assert set(await measuring.measure(named("missing", "a", "gone", "b"))) == {"a", "b"}
    assert broker.asked == ["missing", "a", "gone", "b"]
    assert broker.open == 0


async def test_one_that_does_not_exist_is_asked_for_seldom_and_ever_more_seldom(
    broker: Broker, measuring: Measuring
) -> None:
    for _ in range(3_600):
        await measuring.measure(named("missing"))
        broker.now += 1
    rests, rest = [], FIRST_REST
    while sum(rests) < 3_600:
        rests.append(rest)
        rest = min(2 * rest, LONGEST_REST)
    assert len(broker.asked) == len(rests)
    assert len(broker.asked) < 70


async def test_it_is_found_when_it_comes(broker: Broker, measuring: Measuring) -> None:
    assert await measuring.measure(named("c")) == {}
    broker.queues["c"] = Told(1, 0)
    assert await measuring.measure(named("c")) == {}
    broker.now += FIRST_REST
    assert set(await measuring.measure(named("c"))) == {"c"}


async def test_and_at_once_when_this_side_has_made_it(broker: Broker, measuring: Measuring) -> None:
    assert await measuring.measure(named("c")) == {}
    broker.queues["c"] = Told(1, 0)
    measuring.exists(*named("c"))
    assert set(await measuring.measure(named("c"))) == {"c"}


async def test_names_that_nobody_asks_for_any_more_are_forgotten(broker: Broker, measuring: Measuring) -> None:
    for number in range(1_000):
        await measuring.measure(named(f"agent.{number}"))
        broker.now += 1
    assert len(measuring._absent) <= LONGEST_REST + FIRST_REST + 1


async def test_exclusive_queues_of_others_are_not_asked_for(broker: Broker, measuring: Measuring) -> None:
    broker.queues |= {"own.feed": Told(0, 1), "their.feed": Told(0, 1)}
    feeds = [Queue(name, (), QueueKind.BROADCAST) for name in ("own.feed", "their.feed")]
    assert set(await measuring.measure(feeds)) == {"own.feed"}
    assert broker.asked == ["own.feed"]
