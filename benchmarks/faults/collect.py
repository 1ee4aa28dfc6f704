"""At the end of a run: what the store holds, what is left in queues, and what lies with the dead letters."""

import asyncio
import json
from collections.abc import Collection
from itertools import islice
from typing import Any

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity

from benchmarks.faults.broker import channel_to
from benchmarks.faults.listener import QUEUE
from benchmarks.faults.records import Recorder
from benchmarks.faults.shapes import AGENT_TYPE
from contracts import topology
from contracts.history import LogEntry
from services.runtime.settings import Settings
from services.runtime.store.base import HeaderFilter, Page, Store, StoreUnavailable
from services.runtime.store.open import open_store

PORTION = 200  # executions read at a time


def direct_store(url: str) -> Store:
    """The store without a proxy before it, not started."""
    return open_store(Settings(database_url=url))


async def wait_for_store(store: Store, patience: float) -> None:
    """Return when the store answers.

    Raises:
        TimeoutError: it does not within ``patience`` seconds.
    """
    async with asyncio.timeout(patience):
        while True:
            try:
                await store.ping()
                return
            except StoreUnavailable:
                await asyncio.sleep(0.2)


async def ended_of(store: Store, execution_ids: Collection[str]) -> list[str]:
    """Those of them whose header says that they ended."""
    ended: list[str] = []
    ids = iter(execution_ids)
    while some := list(islice(ids, PORTION)):
        headers = await store.read_headers(some)
        ended += [execution_id for execution_id, header in headers.items() if header.status.ended]
    return ended


async def record_store(store: Store, execution_ids: Collection[str], recorder: Recorder) -> None:
    """Every header that there is; the logs of those, and of the executions that should be there."""
    known = set(execution_ids)
    after: str | None = None
    while True:
        headers, after = await store.list_headers(HeaderFilter(), Page(PORTION, after))
        recorder.add("headers", *(header.model_dump(mode="json", exclude_none=True) for header in headers))
        known.update(header.execution_id for header in headers)
        if after is None:
            break
    ids = iter(sorted(known))
    while some := list(islice(ids, PORTION)):
        for entries in (await store.read_log(dict.fromkeys(some, 0))).values():
            recorder.add("log", *(_row(entry) for entry in entries))


async def record_broker(url: str, recorder: Recorder) -> None:
    """How many messages each queue of the system still holds, and every dead letter. With every service stopped, what
    had been handed out and not been acked is back in its queue."""
    depths = await queue_depths(url)
    recorder.add("queues", *({"name": name, "messages": messages} for name, messages in depths.items()))
    async with channel_to(url) as (channel, _):
        queue = await channel.get_queue(topology.dead_letters().name)
        while (letter := await queue.get(fail=False, no_ack=True)) is not None:
            headers = {name: value for name, value in letter.headers.items() if isinstance(value, str)}
            recorder.add(
                "dead_letters",
                {
                    "message_id": letter.message_id or "",
                    "type": letter.type or "",
                    "reason": headers.get("x-conclave-reason", letter.routing_key or ""),
                    "detail": headers.get("x-conclave-detail", ""),
                    "queue": headers.get("x-conclave-queue", ""),
                    "body": _short(letter.body),
                },
            )


def queue_names() -> list[str]:
    """Every queue of the system that must be empty in the end; the listener's own, which must have been read."""
    queues = [
        topology.orchestrator_commands(),
        topology.orchestrator_starts(),
        *topology.orchestrator_shards(),
        topology.orchestrator_crashed(),
        topology.agent_type_queue(AGENT_TYPE),
        topology.agent_quarantine_queue(AGENT_TYPE),
        topology.registry_queue(),
    ]
    return [*(queue.name for queue in queues), QUEUE]


async def queue_depths(url: str) -> dict[str, int | None]:
    """Messages that are ready in each queue; None where there is no such queue."""
    depths: dict[str, int | None] = {}
    names = queue_names()
    while len(depths) < len(names):
        # The broker closes the channel on which a queue was not found.
        async with channel_to(url) as (channel, _):
            for name in names[len(depths) :]:
                depths[name] = await _depth(channel, name)
                if depths[name] is None:
                    break
    return depths


async def _depth(channel: AbstractChannel, name: str) -> int | None:
    try:
        queue = await channel.declare_queue(name, passive=True)
    except ChannelNotFoundEntity:
        return None
    return queue.declaration_result.message_count or 0


def _row(entry: LogEntry) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude_none=True)


def _short(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return json.dumps(json.loads(text))[:2_000]
    except ValueError:
        return text[:2_000]
