"""Limits of agents: how they combine, and whom they hold back."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from contracts.agents import AgentLimits, CapabilityLimits
from services.runtime.agent.capability import CapabilityError
from services.runtime.agent.limits import Admission, Pace, Sizes, TokenBucket, overlay


def test_what_is_said_over_it_wins_field_by_field_and_capability_by_capability() -> None:
    base = AgentLimits(
        concurrency=4,
        rate=10,
        capabilities={"a": CapabilityLimits(concurrency=2, rate=1), "b": CapabilityLimits(rate=3)},
    )
    over = AgentLimits(
        rate=5, max_input_bytes=100, capabilities={"a": CapabilityLimits(rate=9), "c": CapabilityLimits(rate=7)}
    )
    assert overlay(base, over) == AgentLimits(
        concurrency=4,
        rate=5,
        max_input_bytes=100,
        capabilities={
            "a": CapabilityLimits(concurrency=2, rate=9),
            "b": CapabilityLimits(rate=3),
            "c": CapabilityLimits(rate=7),
        },
    )
    assert overlay(base, AgentLimits()) == overlay(AgentLimits(), base) == base


def test_a_bucket_spaces_begins_evenly() -> None:
    bucket = TokenBucket(rate=4)
    begins = []
    now = 100.0
    for _ in range(5):
        now += bucket.wait(now)
        bucket.take(now)
        begins.append(now)
    assert begins == [100.0, 100.25, 100.5, 100.75, 101.0]


def test_a_bucket_that_was_not_used_has_no_more_than_one_token() -> None:
    bucket = TokenBucket(rate=2)
    bucket.take(0.0)
    assert bucket.wait(60.0) == 0
    bucket.take(60.0)
    assert bucket.wait(60.0) == 0.5


def test_a_late_loop_does_not_slow_the_rate_down() -> None:
    bucket = TokenBucket(rate=10)
    bucket.take(0.0)
    bucket.take(0.13)  # due at 0.1
    assert bucket.wait(0.13) == pytest.approx(0.07)


async def test_who_gives_up_takes_no_token() -> None:
    pace = Pace(rate=0.01)
    await pace.wait()
    given_up = [asyncio.create_task(pace.wait()) for _ in range(50)]
    for _ in range(5):
        await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    assert pace._bucket.wait(asyncio.get_running_loop().time()) <= 100  # and not 5,000


class Work:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.leave = asyncio.Event()

    async def through(self, gates: AbstractAsyncContextManager[None], name: str) -> None:
        async with gates:
            self.inside.append(name)
            await self.leave.wait()


async def begun(work: Work, *through: tuple[AbstractAsyncContextManager[None], str]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(work.through(gates, name)) for gates, name in through]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_limits_of_the_agent_and_of_the_capability_both_hold() -> None:
    admission = Admission(AgentLimits(concurrency=3, capabilities={"slow": CapabilityLimits(concurrency=1)}))
    work = Work()
    tasks = await begun(work, *((admission.of_step("slow"), "slow") for _ in range(3)))
    assert work.inside == ["slow"]
    tasks += await begun(work, *((admission.of_step("quick"), "quick") for _ in range(3)))
    assert work.inside == ["slow", "quick", "quick"]
    work.leave.set()
    await asyncio.gather(*tasks)
    assert sorted(work.inside) == ["quick"] * 3 + ["slow"] * 3


async def test_an_agent_that_its_own_limits_hold_back_takes_no_place_of_the_host() -> None:
    places = asyncio.Semaphore(2)
    limited = Admission(AgentLimits(concurrency=1), places)
    free = Admission(AgentLimits(), places)
    work = Work()
    tasks = await begun(work, *((limited.of_step("a"), "limited") for _ in range(4)))
    tasks += await begun(work, (free.of_step("a"), "free"), (free.of_step("a"), "free"))
    assert work.inside == ["limited", "free"]
    work.leave.set()
    await asyncio.gather(*tasks)
    assert len(work.inside) == 6


async def test_waiting_work_and_mail_take_no_place_of_the_host() -> None:
    places = asyncio.Semaphore(1)
    admission = Admission(AgentLimits(), places, waiting=["delegate"])
    work = Work()
    tasks = await begun(
        work,
        (admission.of_step("vote"), "vote"),
        (admission.of_step("vote"), "vote"),
        (admission.of_step("delegate"), "delegate"),
        (admission.of_mail("vote"), "mail"),
    )
    assert work.inside == ["vote", "delegate", "mail"]
    work.leave.set()
    await asyncio.gather(*tasks)


async def test_a_place_is_free_again_after_a_failure_and_after_a_cancellation() -> None:
    admission = Admission(AgentLimits(concurrency=1))
    with pytest.raises(LookupError):
        async with admission.of_step("a"):
            raise LookupError
    work = Work()
    tasks = await begun(work, (admission.of_step("a"), "first"), (admission.of_step("a"), "second"))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5), admission.of_step("a"):
        assert work.inside == ["first"]


def test_sizes_are_refused_with_both_numbers() -> None:
    sizes = Sizes(AgentLimits(max_input_bytes=20, capabilities={"a": CapabilityLimits(max_input_bytes=10)}))
    sizes.check_input("a", {"x": "ab"})  # {"x":"ab"} is 10 bytes
    with pytest.raises(CapabilityError, match="the inputs of a are 11 bytes; at most 10 are allowed") as refusal:
        sizes.check_input("a", {"x": "abc"})
    assert (refusal.value.code, refusal.value.details) == ("InputTooLarge", {"bytes": 11, "allowed": 10})
    sizes.check_input("b", {"x": "abcdefghijkl"})
    with pytest.raises(CapabilityError, match="at most 20 are allowed"):
        sizes.check_input("b", {"x": "abcdefghijklm"})
    sizes.check_output("a", {"x": "x" * 1000})
    with pytest.raises(CapabilityError, match="the output of a is 1008 bytes; at most 7 are allowed") as refusal:
        Sizes(AgentLimits(max_output_bytes=7)).check_output("a", {"x": "x" * 1000})
    assert refusal.value.code == "OutputTooLarge"
