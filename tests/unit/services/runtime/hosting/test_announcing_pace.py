"""A host whose announcement a registry refuses, and which therefore is asked for it again and again."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from contracts.hosts import HostAnnounced, HostHeartbeat
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting import announcing
from services.runtime.hosting.announcing import Announcer


class ForgetfulRegistry:
    """Knows no host, and asks at each heartbeat who that was. An outbox."""

    def __init__(self) -> None:
        self.announced = 0
        self.announcer: Announcer | None = None

    async def send(self, outgoing: Iterable[Outgoing[Any]]) -> None:
        for one in outgoing:
            self.announced += isinstance(one.message, HostAnnounced)
            if isinstance(one.message, HostHeartbeat) and self.announcer is not None:
                self.announcer.announce()


async def test_a_host_that_is_asked_again_and_again_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 10:
            enough.set()
        await sleep(0)

    registry, listening = ForgetfulRegistry(), asyncio.Event()
    registry.announcer = announcer = Announcer(
        "host-1",
        "service",
        registry,  # type: ignore[arg-type]
        describe=lambda: (),
        states=lambda: (),
        faults=(),
        listening=listening,
        heartbeat=60.0,
    )
    monkeypatch.setattr(announcing.asyncio, "sleep", note)
    listening.set()
    await announcer.start()
    async with asyncio.timeout(20):
        await enough.wait()
    await announcer.stop()
    assert pauses[:10] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert registry.announced <= 11
