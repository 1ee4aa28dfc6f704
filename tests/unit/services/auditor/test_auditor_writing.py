"""Copies from the queue into the log, over the direct bus and a store in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts import topology
from contracts.audit import AuditEntry, AuditRecord, AuditResult
from contracts.envelope import Message
from contracts.execution import CancelExecution, ExecutionAccepted
from services.auditor.app import build
from services.auditor.audit_command import trusted_signers
from services.auditor.checkpoints import Checkpoints, open_checkpoints
from services.auditor.opening import opening_of
from services.auditor.verifying import verify
from services.auditor.writing import Writing
from services.runtime.audit_chain import append_records, link
from services.runtime.bus.base import Delivery, Frame
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.security.key_files import BadKeys
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.store.base import StoreError, StoreUnavailable
from tests.support.memory_store import MemoryStore
from tests.support.signing import add_key, signing_bus, signing_settings
from tests.support.store_operations import record

PATIENCE = 20.0


class World:
    def __init__(self, settings: Settings | None = None) -> None:
        self.broker = DirectBroker()
        self.store = MemoryStore()
        self.settings = settings or Settings(message_keys=Path("none"), communication_protocol="direct")
        self.client = DirectBus(self.broker)
        self.services: list[Service] = []

    async def run(self, make: Callable[[DirectBus], Service] | None = None) -> Service:
        bus = DirectBus(self.broker)
        service = make(bus) if make else build(self.settings, bus, self.store)
        await service.start()
        self.services.append(service)
        return service

    async def publish(self, *messages: Message, **fields: Any) -> None:
        await self.client.publish([encode(Outgoing(message, **fields), "tester") for message in messages])

    async def entries(self) -> list[AuditEntry]:
        return await self.store.read_audit(0, 10_000)

    async def until(self, count: int) -> list[AuditEntry]:
        async with asyncio.timeout(PATIENCE):
            while len(found := await self.entries()) < count:
                await asyncio.sleep(0.005)
        return found

    async def acked(self) -> None:
        """Stops the auditor, and looks whether anything is left in its queue or came back to it."""
        left: list[Delivery] = []
        await self.services.pop().stop()
        probe = DirectBus(self.broker)
        probe.subscribe(topology.auditor_queue(), _into(left), prefetch=1)
        await probe.start()
        await asyncio.sleep(0.02)
        await probe.close()
        assert left == []


def _into(left: list[Delivery]) -> Callable[[Delivery], Awaitable[None]]:
    async def receive(delivery: Delivery) -> None:
        left.append(delivery)

    return receive


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.client.start()
    yield world
    for service in world.services:
        await service.stop()
    await world.client.close()


def cancels(count: int) -> list[CancelExecution]:
    return [CancelExecution(execution_id=f"e{i}") for i in range(count)]


async def test_what_waits_becomes_entries_in_its_order_and_is_acked(world: World) -> None:
    await world.run()
    await world.publish(*cancels(50))
    entries = await world.until(50)
    assert [entry.record.subject for entry in entries] == [f"e{i}" for i in range(50)]
    assert {entry.record.actor for entry in entries} == {"unverified:tester"}
    await world.acked()
    assert (await verify(world.store, {})).whole


async def test_batches_are_written_in_one_go(world: World) -> None:
    await world.run()
    await world.publish(*cancels(400))
    await world.until(400)
    assert world.store.calls["append_audit"] <= 20


async def test_an_answer_finds_its_commands_correlation_id_after_a_restart(world: World) -> None:
    service = await world.run()
    await world.publish(*cancels(1), correlation_id="c1", message_id="m1")
    await world.until(1)
    world.services.clear()
    await service.stop()
    await world.run()
    reply = topology.reply("reply.edge.1")
    await world.publish(ExecutionAccepted(execution_id="e0"), to=reply, correlation_id="m1")
    await world.publish(ExecutionAccepted(execution_id="e0"), to=reply, correlation_id="unknown")
    _, known, unknown = await world.until(3)
    assert (known.record.correlation_id, unknown.record.correlation_id) == ("c1", "unknown")


# ---- the store fails


async def test_a_store_that_is_away_is_waited_for_and_nothing_is_lost_or_doubled(world: World) -> None:
    faults = ["before", "after"]  # first it never came, then its answer was lost

    async def hook(operation: str, moment: str) -> None:
        if faults and operation == "append_audit" and moment == faults[0]:
            raise StoreUnavailable(faults.pop(0))

    world.store.hook = hook
    await world.run()
    await world.publish(*cancels(20))
    async with asyncio.timeout(PATIENCE):
        while faults or len(await world.entries()) < 20:
            await asyncio.sleep(0.01)
    entries = await world.entries()
    assert [entry.record.subject for entry in entries] == [f"e{i}" for i in range(20)]
    assert (await verify(world.store, {})).whole


async def test_while_the_store_stays_away_the_copies_wait_in_the_broker(world: World) -> None:
    gone = True

    async def hook(operation: str, moment: str) -> None:
        if gone and operation.endswith("audit"):
            raise StoreUnavailable("away")

    world.store.hook = hook
    redelivered = 0

    def make(bus: DirectBus) -> Service:
        def open_copy(delivery: Delivery) -> Any:
            nonlocal redelivered
            redelivered = max(redelivered, delivery.redeliveries)
            return opening_of(bus)(delivery)

        writing = Writing(bus, world.store, open_copy, Checkpoints(None), held_seconds=0.0)
        return Service("auditor", bus, resources=[writing])

    await world.run(make)
    await world.publish(*cancels(5))
    async with asyncio.timeout(PATIENCE):
        while redelivered < 2:
            await asyncio.sleep(0.01)
    gone = False
    entries = await world.until(5)
    assert sorted(entry.record.subject for entry in entries) == [f"e{i}" for i in range(5)]


async def test_a_record_that_the_store_never_takes_does_not_stop_the_others(world: World) -> None:
    poison = "e3"

    class Choosy(MemoryStore):
        async def append_audit(self, entries: Any) -> int:
            if any(entry.record.subject == poison for entry in entries):
                raise StoreError("not this one")
            return await super().append_audit(entries)

    world.store = Choosy()
    await world.run()
    await world.publish(*cancels(6))
    entries = await world.until(6)
    subjects = [entry.record.subject for entry in entries]
    assert subjects == ["e0", "e1", "e2", "", "e4", "e5"]
    assert (entries[3].record.action, entries[3].record.result) == ("audit.record", AuditResult.FAILED)


# ---- whatever comes


async def test_anything_at_all_is_on_record_and_acked(world: World) -> None:
    await world.run()
    address = topology.command("execution.cancel")
    bodies = [b"", b"\xff", b"[" * 10_000, b'{"payload":{"execution_id":{}}}', b"x" * 3_000_000]
    await world.client.publish([Frame(address, body, "", "") for body in bodies])
    entries = await world.until(len(bodies))
    assert {entry.record.result for entry in entries[:3]} == {AuditResult.REFUSED}
    await world.acked()


async def test_a_copy_that_breaks_the_recording_is_on_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> list[AuditRecord]:
        raise RecursionError

    monkeypatch.setattr("services.auditor.recording.records_of", broken)
    await world.run()
    await world.publish(*cancels(1))
    (entry,) = await world.until(1)
    assert entry.record.detail == "could not be recorded: RecursionError"


async def test_two_auditors_and_an_operator_write_one_chain(world: World) -> None:
    """The queue has one consumer at a time; here another stands by the log anyway."""
    await world.run()
    await world.publish(*cancels(100))
    for i in range(20):
        await append_records(world.store, [record(f"keys/{i}")])
        await asyncio.sleep(0.001)
    async with asyncio.timeout(PATIENCE):
        while True:
            actions = [entry.record.action for entry in await world.entries()]
            if actions.count("execution.cancel.v1") == 100:
                break
            await asyncio.sleep(0.005)
    assert actions.count("x") == 20
    assert (await verify(world.store, {})).whole


# ---- signatures


class Kept(DirectBus):
    """Keeps what is published."""

    frames: Sequence[Frame] = ()

    async def publish(self, frames: Sequence[Frame]) -> None:
        self.frames = frames


async def test_with_keys_there_is_a_checkpoint_at_the_end_of_every_batch(tmp_path: Path) -> None:
    for name in ("auditor", "edge"):
        add_key(tmp_path, name)
    settings = signing_settings(tmp_path, communication_protocol="direct")
    world = World(settings)
    await world.client.start()
    edge = signing_bus(world.client, tmp_path, "edge")
    service = build(settings, signing_bus(DirectBus(world.broker), tmp_path, "auditor"), world.store)
    await service.start()
    try:
        await edge.publish([encode(Outgoing(cancels(1)[0], actor="key:zoe"), "edge")])
        await world.client.publish([encode(Outgoing(cancels(1)[0], actor="key:admin"), "edge")])
        kept = Kept(world.broker)
        await signing_bus(kept, tmp_path, "edge").publish([encode(Outgoing(cancels(1)[0], actor="key:zoe"), "edge")])
        (signed,) = kept.frames
        await world.client.publish([replace(signed, body=signed.body.replace(b"zoe", b"eve"))])
        entries = [entry.record for entry in await world.until(3)]
    finally:
        await service.stop()
        await world.client.close()
    assert [(entry.actor, entry.result, entry.detail.partition(":")[0]) for entry in entries] == [
        ("key:zoe", AuditResult.SENT, ""),
        ("unverified:key:admin", AuditResult.REFUSED, "unsigned"),
        ("unverified:key:eve", AuditResult.REFUSED, "bad-signature"),
    ]
    report = await verify(world.store, trusted_signers(None, settings))
    assert (report.whole, report.signed_to) == (True, 3)


def test_without_a_key_there_are_no_checkpoints_but_where_signing_is_on_it_does_not_start(tmp_path: Path) -> None:
    (entry,) = link(None, [record("a")])
    assert open_checkpoints(Settings(message_keys=tmp_path)).of(entry, 1.0, 0) is None
    with pytest.raises(BadKeys, match=r"auditor\.private\.json"):
        open_checkpoints(signing_settings(tmp_path))
