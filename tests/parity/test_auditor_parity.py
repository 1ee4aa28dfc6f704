"""The auditor over every bus: it gets its copies, dead letters too, and what was taken and not written comes back."""

import asyncio
from pathlib import Path

import pytest

from contracts import topology
from contracts.audit import AuditFilter, AuditResult
from contracts.execution import CancelExecution, ExecutionAccepted, ExecutionCompleted
from services.auditor.app import build
from services.auditor.verifying import verify
from services.runtime.bus.base import Bus, Frame
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.settings import Settings
from services.runtime.store.base import Page, StoreUnavailable
from tests.support.buses import PATIENCE, Inbox, World
from tests.support.memory_store import MemoryStore

OWN_NAMES = False

SETTINGS = Settings(message_keys=Path("none"))


async def subjects(store: MemoryStore, **wanted: object) -> list[str]:
    rows, _ = await store.list_audit(AuditFilter(**wanted), Page(500))  # type: ignore[arg-type]
    return sorted(row.record.subject for row in rows)


async def until(store: MemoryStore, count: int, mark: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while sum(subject.startswith(mark) for subject in await subjects(store)) < count:
            await asyncio.sleep(0.01)


async def without_the_queue(bus: Bus) -> None:
    """The real queue, so that it is as the topology says; no other test's copies are to be left in it."""
    await bus.remove(topology.auditor_queue(), Inbox())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_commands_answers_ends_and_dead_letters_become_one_chain(world: World, store: MemoryStore) -> None:
    service = build(SETTINGS, world.bus(), store)
    await service.start()
    bus = await world.started()
    mark = world.prefix
    reply = topology.reply(world.name("reply"))
    dead = Frame(topology.dead("contract"), b"{}", "execution.cancel.v1", world.name("dead"))
    try:
        await bus.publish([encode(Outgoing(CancelExecution(execution_id=f"{mark}-1"), message_id=mark), "t")])
        answer = Outgoing(ExecutionAccepted(execution_id=f"{mark}-2"), to=reply, correlation_id=mark)
        end = Outgoing(ExecutionCompleted(execution_id=f"{mark}-3", workflow_name="w"))
        await bus.publish([encode(answer, "t"), encode(end, "t"), dead])
        await until(store, 3, mark)
        async with asyncio.timeout(PATIENCE):
            while not await subjects(store, result=AuditResult.REFUSED, action="execution.cancel.v1"):
                await asyncio.sleep(0.01)
        assert await subjects(store, correlation_id=mark) == [f"{mark}-1", f"{mark}-2"]
        assert (await verify(store, {})).whole
    finally:
        await service.stop()
        await without_the_queue(bus)


async def test_an_auditor_that_ends_while_the_store_is_away_leaves_the_copies_to_the_next(
    world: World, store: MemoryStore
) -> None:
    failed = asyncio.Event()

    async def away(operation: str, moment: str) -> None:
        failed.set()
        raise StoreUnavailable(operation)

    store.hook = away
    first = build(SETTINGS, world.bus(), store)
    await first.start()
    bus = await world.started()
    mark = world.prefix
    frames = [encode(Outgoing(CancelExecution(execution_id=f"{mark}-{i:03}")), "t") for i in range(30)]
    try:
        await bus.publish(frames)
        await asyncio.wait_for(failed.wait(), PATIENCE)
        await first.stop()
        store.hook = None
        assert await subjects(store) == []
        second = build(SETTINGS, world.bus(), store)
        await second.start()
        await until(store, 30, mark)
        await second.stop()
        found = [subject for subject in await subjects(store) if subject.startswith(mark)]
        assert found == [f"{mark}-{i:03}" for i in range(30)]
    finally:
        await without_the_queue(bus)
