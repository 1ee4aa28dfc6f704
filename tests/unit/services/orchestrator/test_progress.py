"""Progress events: in order, together, and never in anybody's way."""

import asyncio
from collections.abc import Sequence
from typing import Any

from contracts.envelope import envelope_of
from contracts.execution import ExecutionsAdvanced
from contracts.history import LogEntry
from services.orchestrator import progress
from services.orchestrator.progress import Progress
from services.orchestrator.work import Work
from services.runtime.bus.base import BusUnavailable, Frame
from services.runtime.service import Outbox


class SlowBus:
    """Publishes when it is let to; ``away`` makes it fail."""

    def __init__(self) -> None:
        self.told: list[list[int]] = []
        self.away = False
        self.open = asyncio.Event()

    async def publish(self, frames: Sequence[Frame]) -> None:
        await self.open.wait()
        if self.away:
            raise BusUnavailable("away")
        for frame in frames:
            message = envelope_of(ExecutionsAdvanced).model_validate_json(frame.body).payload
            self.told.append([entry.n for entry in message.entries])


def works(*numbers: int, size: int = 100) -> list[Work]:
    nothing: Any = None
    return [
        Work(nothing, size=size, entry=LogEntry(execution_id="e", n=n, at=0.0, applied=(), events=())) for n in numbers
    ]


def on(bus: Any) -> Progress:
    return Progress(Outbox(bus, "o"))


async def test_what_gathers_while_one_event_is_under_way_goes_together_and_in_order() -> None:
    bus = SlowBus()
    told = on(bus)
    told.put(works(1, 2))
    await asyncio.sleep(0)
    told.put(works(3))
    told.put([Work(None), *works(4)])  # type: ignore[arg-type]
    bus.open.set()
    await told.drain()
    assert bus.told == [[1, 2], [3, 4]]


async def test_a_broker_that_is_away_costs_the_events_and_nothing_else() -> None:
    bus = SlowBus()
    bus.open.set()
    bus.away = True
    told = on(bus)
    told.put(works(1))
    await told.drain()
    bus.away = False
    told.put(works(2))
    await told.drain()
    assert bus.told == [[2]]


async def test_what_waits_is_bounded_and_the_oldest_goes_first() -> None:
    bus = SlowBus()
    told = on(bus)
    told.put(works(1))
    await asyncio.sleep(0)  # the first is under way and waits no more
    told.put(works(2, 3, 4, size=progress.BYTES_WAITING // 2))
    bus.open.set()
    await told.drain()
    assert [n for event in bus.told for n in event] == [1, 3, 4]


async def test_an_event_is_of_bounded_size() -> None:
    bus = SlowBus()
    bus.open.set()
    told = on(bus)
    told.put(works(1, 2, 3, size=progress.BYTES_PER_EVENT // 2))
    await told.drain()
    assert bus.told == [[1, 2], [3]]


async def test_nothing_to_tell_is_nothing_to_wait_for() -> None:
    told = on(SlowBus())
    told.put([Work(None)])  # type: ignore[arg-type]
    await told.drain()
    await told.stop()
