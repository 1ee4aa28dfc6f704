"""Hosts that have gone silent, agents that they leave behind, and deletions that were interrupted."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import structlog

from contracts.agents import AgentStatus
from contracts.registry import AgentFilter, SweepHosts
from services.registry import presence, records
from services.registry.granting import granted, granted_record
from services.registry.ledger import Ledger
from services.registry.removing import Removing
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.known_types import known_types
from services.runtime.repeated import Repeated
from services.runtime.security.policy import AgentPolicy
from services.runtime.service import Outbox, Received
from services.runtime.store.base import Host, StoreUnavailable

log = structlog.get_logger(__name__)

_AFTER_A_GAP = presence.SILENT_AFTER - 1  # heartbeats: so much later than due a word may come


class Ticker:
    """Sends a ``SweepHosts`` every quarter of a heartbeat, from when the registry is ``listening``. It comes by the
    registry's queue: behind what hosts have said before, and to the active replica alone."""

    def __init__(self, outbox: Outbox, heartbeat: float, listening: asyncio.Event) -> None:
        self._outbox = outbox
        self._period = heartbeat / 4
        self._listening = listening
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "registry ticker")

    async def stop(self) -> None:
        await stopped(self._task)

    async def _run(self) -> None:
        await self._listening.wait()
        while True:
            try:
                await self._outbox.send([Outgoing(SweepHosts())])
            except BusError as error:
                log.debug("sweep put off", error=str(error))
            await asyncio.sleep(self._period)


class Sweeping:
    """``heartbeat``: seconds between the words of a host, as far as none is heard of yet."""

    def __init__(self, ledger: Ledger, removing: Removing, heartbeat: float, policy: AgentPolicy) -> None:
        self._ledger = ledger
        self._removing = removing
        self._heartbeat = heartbeat
        self._policy = policy
        self._policy_holds = False
        self._trouble = Repeated(log, "sweep passed over")
        self._swept_at = 0.0
        self._look_at = 0.0
        self._settled: tuple[Collection[str], Collection[str]] | None = None

    async def sweep(self, received: Received[SweepHosts]) -> Iterable[Outgoing[Any]]:
        try:
            await self._look()
        except (BusError, StoreUnavailable) as error:
            # Given back, it would pile up with those that follow; the next one does the same.
            self._trouble.failed(error)
        else:
            self._trouble.worked()
        return []

    async def _look(self) -> None:
        ledger = self._ledger
        async with ledger.turn:
            now = ledger.clock()
            if not self._policy_holds:
                await self._hold_against_policy()
            if now - self._swept_at > _AFTER_A_GAP * self._heartbeat:
                # This process has just started, became the active one, was cut off or stood still: silence means
                # nothing yet, and what hosts have said meanwhile may wait in the queue behind this sweep.
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

    async def _hold_against_policy(self) -> None:
        """Once a process: what hosts had said to an earlier registry may not be granted any more."""
        store = self._ledger.store
        for host in await store.list_hosts():
            announced, left_out = granted(host.announced, self._policy)
            if left_out:
                log.error("not granted any more", host_id=announced.host_id, faults=[fault.error for fault in left_out])
                kept = replace(host, announced=announced)
                await store.put_host(kept)
                self._ledger.offers(announced.host_id, presence.types_of(kept))
        self._policy_holds = True

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
                log.warning("host has gone silent", host_id=host_id, silent_for=round(now - host.seen_at, 2))
                await store.mark_host(host_id, host.seen_at, available=False)
                self._ledger.forget(host_id)
                host = replace(host, available=False)
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
                after = records.kept_by(granted_record(record, self._policy), live, said)
                await self._ledger.change(record, after)
        self._settled = (live, types)
