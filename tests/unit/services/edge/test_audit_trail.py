"""Records of requests on their way from the edge to the auditor."""

import asyncio
from typing import Any

from contracts.audit import AccessRecorded, AuditRecord
from services.edge.audit_trail import AuditTrail
from services.runtime.bus.base import BusUnavailable
from services.runtime.envelope_codec import Outgoing
from tests.support.store_operations import record

PATIENCE = 20.0


class Post:
    """What stands for the outbox: takes messages, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.refused = 0
        self.sent: list[Outgoing[Any]] = []

    async def send(self, outgoing: Any) -> None:
        if self.away:
            self.refused += 1
            raise BusUnavailable("away")
        self.sent.extend(outgoing)

    @property
    def records(self) -> list[AuditRecord]:
        return [one for message in self.sent for one in message.message.records]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.records) < count:
                await asyncio.sleep(0.005)


def records(count: int) -> list[AuditRecord]:
    return [record(f"access/{i}", at=float(i + 1)) for i in range(count)]


def trail_to(post: Post, **options: Any) -> AuditTrail:
    return AuditTrail(post, "edge", **options)  # type: ignore[arg-type]


async def test_records_go_several_in_a_message_and_in_order() -> None:
    post = Post()
    trail = trail_to(post)
    await trail.start()
    for one in records(450):
        trail.add(one)
    await post.until(450)
    await trail.stop()
    assert post.records == records(450)
    assert [len(message.message.records) for message in post.sent] == [200, 200, 50]
    assert all(isinstance(message.message, AccessRecorded) for message in post.sent)


async def test_what_waits_is_sent_before_it_stops() -> None:
    post = Post()
    trail = trail_to(post)
    await trail.start()
    for one in records(5):
        trail.add(one)
    await trail.stop()
    assert post.records == records(5)


async def test_while_the_broker_is_away_they_wait_and_go_out_once() -> None:
    post = Post()
    post.away = True
    trail = trail_to(post)
    await trail.start()
    for one in records(3):
        trail.add(one)
    async with asyncio.timeout(PATIENCE):
        while post.refused < 2:
            await asyncio.sleep(0.01)
    post.away = False
    await post.until(3)
    await trail.stop()
    assert post.records == records(3)


async def test_how_many_found_no_room_is_itself_on_record() -> None:
    post = Post()
    post.away = True
    trail = trail_to(post, most=4)
    await trail.start()
    for one in records(10):
        trail.add(one)
    post.away = False
    await post.until(5)
    await trail.stop()
    lost, *kept = post.records
    assert kept == records(4)
    assert lost.action == "audit.lost"
    assert lost.detail.startswith("6 requests between 5.000 and 10.000")


async def test_a_broker_that_stays_away_does_not_keep_it_from_stopping() -> None:
    post = Post()
    post.away = True
    trail = trail_to(post)
    await trail.start()
    trail.add(records(1)[0])
    await trail.stop()
    assert post.sent == []
