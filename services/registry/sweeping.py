"""Hosts that have gone silent, agents that they leave behind, and deletions that were interrupted."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import structlog

from contracts.agents import AgentStatus
from contracts.registry import AgentFilter, SweepHosts
from services.registry import presence, records
from services.registry.ledger import Ledger
from services.registry.removing import Removing
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.known_types import known_types
from services.runtime.service import Outbox, Received
from services.runtime.store.base import Host, StoreUnavailable

log = structlog.get_logger(__name__)


class Ticker:
    """Sends a ``SweepHosts`` every quarter of a heartbeat. It comes by the registry's queue: behind what hosts have
    said before, and to the active replica alone."""

    def __init__(self, outbox: Outbox, heartbeat: float) -> None:
        self._outbox = outbox
        self._period = heartbeat / 4
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "registry ticker")

    async def stop(self) -> None:
        await stopped(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self._outbox.send([Outgoing(SweepHosts())])
            except BusError as error:
                log.debug("sweep put off", error=str(error))
            await asyncio.sleep(self._period)


class Sweeping:
    """``heartbeat``: seconds between the words of a host, as far as none is heard of yet."""

    def __init__(self, ledger: Ledger, removing: Removing, heartbeat: float) -> None:
        self._ledger = ledger
        self._removing = removing
        self._heartbeat = heartbeat
        self._swept_at = 0.0
        self._look_at = 0.0
        self._settled: tuple[Collection[str], Collection[str]] | None = None

    async def sweep(self, received: Received[SweepHosts]) -> Iterable[Outgoing[Any]]:
        try:
            await self._look()
        except (BusError, StoreUnavailable) as error:
            # Given back, it would pile up with those that follow; the next one does the same.
            log.warning("sweep passed over", error=str(error))
        return []

    async def _look(self) -> None:
        ledger = self._ledger
        async with ledger.turn:
            now = ledger.clock()
            if now - self._swept_at > self._heartbeat:
                # This process has just started, became the active one, or was cut off: silence means nothing yet.
                ledger.listening_since = self._look_at = now
            if now < self._look_at:
                self._swept_at = now
                return
            hosts = await self._mark_silent(await ledger.store.list_hosts(), now)
            await self._settle(hosts, now)
            left = await ledger.agents(AgentFilter(statuses=(AgentStatus.STOPPING,)))
            self._look_at = presence.next_look(hosts, ledger.listening_since, now, self._heartbeat)
            self._swept_at = now
        for record in left:
            if records.is_finished(record):
                await self._removing.finish(record.agent_id)

    async def _mark_silent(self, hosts: list[Host], now: float) -> list[Host]:
        """The hosts that are kept, those that have gone silent marked so."""
        store = self._ledger.store
        silent = {host.announced.host_id for host in presence.gone_silent(hosts, self._ledger.listening_since, now)}
        forgotten = set(presence.forgettable(hosts, now))
        kept = []
        for host in hosts:
            host_id = host.announced.host_id
            if host_id in forgotten:
                await store.delete_host(host_id)
                self._ledger.forget(host_id)
                continue
            if host_id in silent:
                log.warning("host has gone silent", host=host_id, silent_for=round(now - host.seen_at, 2))
                await store.mark_host(host_id, host.seen_at, available=False)
                self._ledger.forget(host_id)
                host = Host(host.announced, host.seen_at, available=False)
            kept.append(host)
        return kept

    async def _settle(self, hosts: list[Host], now: float) -> None:
        """Bring every record into line with the hosts that are there, if those have changed since the last time."""
        live = frozenset(presence.available(hosts))
        types = frozenset(known_types(hosts, now))
        if (live, types) == self._settled:
            return
        for record in await self._ledger.agents(AgentFilter()):
            if record.default and record.agent_type not in types:
                await self._ledger.store.delete_agent(record.agent_id)
            else:
                said = self._ledger.said(record.agent_id)
                await self._ledger.change(record, records.kept_by(record, live, said))
        self._settled = (live, types)
