"""How settlements are told to RabbitMQ: together where one may speak for many, and never for what is in hand."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.runtime.bus import rabbit_acks
from services.runtime.bus.rabbit_acks import AHEAD, Acks


class Channel:
    """Writes down what it is told, and checks it as RabbitMQ does: a message is settled once, and exists."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.outstanding: set[int] = set()
        self.acked: set[int] = set()
        self.rejected: set[int] = set()
        self.full = asyncio.Event()  # cleared while nothing can be written
        self.full.set()

    async def basic_ack(self, tag: int, *, multiple: bool = False, wait: bool = True) -> None:
        await self.full.wait()
        assert tag in self.outstanding, "precondition failed: unknown delivery tag"
        spoken_for = {one for one in self.outstanding if one <= tag} if multiple else {tag}
        self.outstanding -= spoken_for
        self.acked |= spoken_for
        self.told.append(("up to" if multiple else "one", tag))

    async def basic_reject(self, tag: int, *, requeue: bool, wait: bool = True) -> None:
        await self.full.wait()
        assert requeue
        assert tag in self.outstanding, "precondition failed: unknown delivery tag"
        self.outstanding.discard(tag)
        self.rejected.add(tag)
        self.told.append(("back", tag))


def received(channel: Channel, *tags: int, clock: Callable[[], float] = lambda: 0.0) -> Acks:
    acks = Acks(channel, clock)  # type: ignore[arg-type]
    for tag in tags:
        channel.outstanding.add(tag)
        acks.received(tag)
    return acks


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_acked_in_one_turn_is_told_in_one_settlement() -> None:
    channel = Channel()
    acks = received(channel, *range(1, 501))
    for tag in range(1, 501):
        acks.ack(tag)
    await turns()
    assert channel.told == [("up to", 500)]
    assert channel.acked == set(range(1, 501))


async def test_in_any_order() -> None:
    channel = Channel()
    acks = received(channel, 1, 2, 3, 4)
    for tag in (3, 1, 4, 2):
        acks.ack(tag)
    await turns()
    assert channel.told == [("up to", 4)]


async def test_one_alone_is_told_alone() -> None:
    channel = Channel()
    received(channel, 1, 2).ack(1)
    await turns()
    assert channel.told == [("one", 1)]


async def test_it_never_speaks_for_what_is_still_in_hand() -> None:
    channel = Channel()
    acks = received(channel, *range(1, 9))
    for tag in (1, 2, 4, 5, 8):
        acks.ack(tag)
    await turns()
    assert channel.told == [("up to", 2), ("one", 4), ("one", 5), ("one", 8)]
    assert channel.outstanding == {3, 6, 7}
    for tag in (3, 6, 7):
        acks.ack(tag)
    await turns()
    assert channel.told[4:] == [("up to", 7)]
    assert channel.outstanding == set()


async def test_nor_for_what_comes_meanwhile() -> None:
    channel = Channel()
    acks = received(channel, 1, 2)
    channel.full.clear()
    acks.ack(1)
    acks.ack(2)
    await turns()
    channel.outstanding |= {3, 4}
    acks.received(3)
    acks.received(4)
    acks.ack(4)
    channel.full.set()
    await turns()
    assert channel.told == [("up to", 2), ("one", 4)]
    assert channel.outstanding == {3}


async def test_nor_for_what_is_given_back() -> None:
    """Also where the giving back waits for room on its way."""
    channel = Channel()
    acks = received(channel, 1, 2, 3)
    channel.full.clear()
    rejecting = asyncio.create_task(acks.reject(1))
    await turns()
    acks.ack(2)
    acks.ack(3)
    await turns()
    channel.full.set()
    await rejecting
    await turns()
    assert (channel.rejected, channel.acked) == ({1}, {2, 3})


async def test_nor_for_what_it_has_never_seen() -> None:
    channel = Channel()
    channel.outstanding.add(2)
    acks = received(channel, 1, 3, 4)
    for tag in (1, 3, 4):
        acks.ack(tag)
    await turns()
    assert channel.told == [("one", 1), ("one", 3), ("one", 4)]
    assert channel.outstanding == {2}


async def test_what_is_held_back_is_told_afterwards() -> None:
    channel = Channel()
    acks = received(channel, 1, 2, 3)
    await acks.hold_back()
    acks.ack(1)
    acks.ack(2)
    await turns()
    assert channel.told == []
    acks.go_on()
    acks.ack(3)
    await turns()
    assert channel.acked == {1, 2, 3}


@pytest.mark.parametrize(("settlements", "rests"), [(0, []), (AHEAD, []), (AHEAD + 1, [rabbit_acks.REST])])
async def test_a_channel_with_many_settlements_rests_before_it_is_closed(
    monkeypatch: pytest.MonkeyPatch, settlements: int, rests: list[float]
) -> None:
    slept: list[float] = []
    channel = Channel()
    acks = received(channel, *range(1, 100))
    for tag in range(2, settlements + 2):  # the first stays in hand, so each is told alone
        acks.ack(tag)
    await turns()
    assert len(channel.told) == settlements

    async def sleep(seconds: float, *_: Any) -> None:
        slept.append(seconds)

    monkeypatch.setattr(rabbit_acks.asyncio, "sleep", sleep)
    await acks.told()
    assert slept == rests


async def test_everything_is_told_when_the_channel_may_be_closed() -> None:
    channel = Channel()
    acks = received(channel, 1, 2, 3)
    for tag in (1, 2, 3):
        acks.ack(tag)
    await acks.told()
    assert channel.outstanding == set()
