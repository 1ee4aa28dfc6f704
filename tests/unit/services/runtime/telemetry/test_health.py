"""When a process is ready, and what it says when it is not."""

import asyncio

import pytest

from contracts.monitoring import CheckResult, ServiceState
from services.runtime.store.base import StoreUnavailable
from services.runtime.telemetry import health
from services.runtime.telemetry.endpoints import is_ready, summary
from services.runtime.telemetry.health import Health, checked, store_answers
from tests.support.memory_store import MemoryStore


class Serving:
    def __init__(self, name: str, *faults: str) -> None:
        self.name = name
        self.faults = faults

    async def checks(self) -> tuple[CheckResult, ...]:
        return tuple(CheckResult(name=f"need {n}", fault=fault) for n, fault in enumerate(self.faults))


class Store(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.pings = 0
        self.away = False

    async def ping(self) -> None:
        self.pings += 1
        if self.away:
            raise StoreUnavailable("mongodb://u:secret@db:27017/x: connection refused")


async def test_ready_means_that_every_check_of_every_service_is_without_a_fault() -> None:
    process = Health()
    one, other = Serving("one", "", ""), Serving("other", "")
    process.watch([one, other])
    assert is_ready(await process.states())
    other.faults = ("not connected",)
    states = await process.states()
    assert not is_ready(states)
    assert summary(states) == {
        "status": "not ready",
        "services": {"one": {"need 0": "ok", "need 1": "ok"}, "other": {"need 0": "not connected"}},
    }


async def test_a_process_that_ends_is_not_ready_whatever_its_checks_say() -> None:
    process = Health()
    process.watch([Serving("one", "")])
    process.ending = True
    (state,) = await process.states()
    assert not state.ready
    assert state.checks[0] == CheckResult(name="ending", fault="the process ends")


def test_a_process_without_services_is_not_ready() -> None:
    assert not is_ready([])
    assert is_ready([ServiceState(service="one")])


async def test_a_check_that_raises_has_found_a_fault_which_holds_no_secret() -> None:
    store = Store()
    store.away = True
    result = await checked("store", store_answers(store))
    assert result.name == "store"
    assert result.fault.startswith("StoreUnavailable: ")
    assert "secret" not in result.fault


async def test_a_check_that_does_not_return_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_TIMEOUT", 0.01)

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    assert (await checked("slow", never)).fault == "no answer within 0.01 s"


async def test_the_store_is_asked_once_a_second_and_at_once_again_while_it_is_away() -> None:
    store, now = Store(), 100.0
    check = store_answers(store, lambda: now)
    for _ in range(3):
        assert await check() == ""
    assert store.pings == 1
    now += 1.0
    store.away = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await check()
    assert store.pings == 3
    store.away = False
    assert await check() == ""


async def test_a_store_that_hangs_is_asked_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_TIMEOUT", 0.05)

    class Hanging(MemoryStore):
        pings = under_way = 0

        async def ping(self) -> None:
            self.pings += 1
            self.under_way += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.under_way -= 1

    store = Hanging()
    check = store_answers(store)
    results = await asyncio.gather(*(checked("store", check) for _ in range(50)))
    assert {result.fault for result in results} == {"no answer within 0.05 s"}
    assert store.pings == 1
    await asyncio.sleep(0.05)
    assert store.under_way == 0
    assert (await checked("store", check)).fault == "no answer within 0.05 s"
    assert store.pings == 2


async def test_whoever_gives_up_takes_the_answer_from_nobody() -> None:
    class Slow(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.answers = asyncio.Event()

        async def ping(self) -> None:
            await self.answers.wait()

    store = Slow()
    check = store_answers(store)
    impatient, patient = asyncio.ensure_future(check()), asyncio.ensure_future(check())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    store.answers.set()
    assert await patient == ""
    assert impatient.cancelled()
