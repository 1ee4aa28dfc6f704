"""Those who wait for something to become of an agent."""

import asyncio

import pytest

from services.registry.waits import Waits, outcome_of
from services.runtime.bus.base import BusUnavailable


async def test_everyone_who_waits_is_told_once_and_nobody_else() -> None:
    waits: Waits[str] = Waits()
    with waits.expecting("ann") as first, waits.expecting("ann") as second, waits.expecting("bob") as other:
        waits.tell("ann", "here")
        waits.tell("ann", "again")
        assert [await outcome_of(one, 1) for one in (first, second)] == ["here", "here"]
        assert await outcome_of(other, 0) is None
        assert "bob" in waits
    assert "ann" not in waits
    assert "bob" not in waits
    waits.tell("ann", "too late")


async def test_one_who_gives_up_leaves_the_others() -> None:
    waits: Waits[str] = Waits()
    with waits.expecting("ann") as second:
        with waits.expecting("ann") as first:
            pass
        assert first.cancelled()
        waits.tell("ann", "here")
        assert await outcome_of(second, 1) == "here"


async def test_a_registry_that_stops_sends_them_away() -> None:
    waits: Waits[str] = Waits()
    with waits.expecting("ann") as first, waits.expecting("bob") as second:
        waits.tell("bob", "here")
        waits.give_up()
        with pytest.raises(BusUnavailable, match="registry is stopping"):
            await outcome_of(first, 1)
        assert await outcome_of(second, 1) == "here"


async def test_waiting_can_be_cancelled() -> None:
    waits: Waits[str] = Waits()

    async def wait() -> None:
        with waits.expecting("ann") as future:
            await outcome_of(future, 60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "ann" not in waits
