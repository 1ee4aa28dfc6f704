"""What is done once before a store's first operation."""

import asyncio

import pytest

from services.runtime.store.base import StoreError, StoreUnavailable
from services.runtime.store.preparation import Preparation


class Work:
    """Fails as often as it is told to, then succeeds; waits for ``gate`` if there is one."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.runs = 0
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> None:
        self.runs += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.runs <= self.failures:
            raise StoreUnavailable(f"away {self.runs}")


async def test_one_attempt_serves_all_who_wait_and_it_is_done_once() -> None:
    work = Work()
    preparation = Preparation(work, retry=60)
    await asyncio.gather(*(preparation.ready() for _ in range(5)))
    await preparation.ready()
    assert work.runs == 1


async def test_a_failure_is_told_to_all_who_wait_and_the_next_call_tries_again() -> None:
    work = Work(failures=1)
    preparation = Preparation(work, retry=60)
    outcomes = await asyncio.gather(*(preparation.ready() for _ in range(3)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["away 1"] * 3
    await preparation.ready()
    assert work.runs == 2


async def test_it_goes_on_in_the_background_until_it_succeeds() -> None:
    work = Work(failures=3)
    preparation = Preparation(work, retry=0)
    preparation.begin()
    while work.runs < 4:
        await asyncio.sleep(0)
    await preparation.ready()
    assert work.runs == 4
    await preparation.give_up()


async def test_a_caller_that_is_cancelled_does_not_end_the_attempt_of_the_others() -> None:
    work = Work()
    work.gate = asyncio.Event()
    preparation = Preparation(work, retry=60)
    first, second = (asyncio.create_task(preparation.ready()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    work.gate.set()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert work.runs == 1


async def test_whoever_waits_when_it_is_given_up_is_told() -> None:
    work = Work()
    work.gate = asyncio.Event()
    preparation = Preparation(work, retry=60)
    preparation.begin()
    waiting = asyncio.create_task(preparation.ready())
    await asyncio.sleep(0)
    await preparation.give_up()
    with pytest.raises(StoreError, match="the store was stopped"):
        await waiting
