"""What hosts say: that they are there, what they run, what they took and gave up."""

from collections.abc import Iterable
from typing import Any

import structlog

from contracts.agents import AgentDescriptor, AgentRecord, AgentState, AgentStatus
from contracts.hosts import AgentReleased, AgentTaken, HostAnnounced, HostAssignment, HostHeartbeat, HostStopped
from services.registry import presence, records
from services.registry.assigning import assignment, to_stop
from services.registry.creating import could_not_start
from services.registry.granting import granted, granted_record, granted_taken
from services.registry.ledger import Ledger
from services.registry.removing import Removing
from services.runtime.bus.base import BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.repeated import Repeated
from services.runtime.security.policy import AgentPolicy
from services.runtime.security.senders import ForbiddenSender
from services.runtime.service import Received
from services.runtime.store.base import Host, StoreUnavailable

log = structlog.get_logger(__name__)

Answers = Iterable[Outgoing[Any]]


class Hearing:
    """Level-triggered: each word of a host is held against the records, and the host is told where they differ. So a
    word that is lost, late or repeated does no harm.

    What a host says that it can do is held against ``policy``, too, and what is not granted is left out.
    """

    def __init__(self, ledger: Ledger, removing: Removing, policy: AgentPolicy) -> None:
        self._ledger = ledger
        self._removing = removing
        self._policy = policy
        self._asked: set[str] = set()  # hosts that have announced themselves to this process, or were asked to
        self._logged: set[str] = set()
        self._trouble = Repeated(log, "heartbeat passed over")

    async def announced(self, received: Received[HostAnnounced]) -> Answers:
        """Write a host down, with the default agents of its types, and give it the instances that there are."""
        message, left_out = granted(received.message, self._policy)
        ledger = self._ledger
        self._asked.add(message.host_id)
        async with ledger.turn:
            host = Host(message, ledger.clock())
            await ledger.store.put_host(host)
            await self._drop_replaced()
            agent_types = presence.types_of(host)
            ledger.offers(message.host_id, agent_types)
            for descriptor in message.descriptors:
                await self._default_agent(descriptor, message.host_id)
            found = await ledger.of_types(agent_types)
            for record in found:
                await ledger.change(record, granted_record(record, self._policy))
            told = assignment(message.host_id, agent_types, found, ledger.said_by(message.host_id))
            await ledger.tell([told] if told else [])
        for fault in received.message.faults:
            log.warning("host reports a plugin that cannot be loaded", host_id=message.host_id, plugin=fault.plugin)
        for fault in left_out:
            if fault.error not in self._logged:
                self._logged.add(fault.error)
                log.error("not granted", host_id=message.host_id, agent_type=fault.plugin, detail=fault.error)
        return []

    async def heartbeat(self, received: Received[HostHeartbeat]) -> Answers:
        """Note that a host is there, and how its agents do."""
        try:
            await self._beat(received.message)
        except (BusError, StoreUnavailable) as error:
            # Given back, it would come at a bad time again and again; the next one says the same.
            self._trouble.failed(error, host_id=received.message.host_id)
            self._ledger.listening_since = self._ledger.clock()
        else:
            self._trouble.worked()
        return []

    async def _beat(self, message: HostHeartbeat) -> None:
        ledger, host_id = self._ledger, message.host_id
        async with ledger.turn:
            if not await ledger.store.mark_host(host_id, ledger.clock(), available=True):
                await ledger.tell([HostAssignment(host_id=host_id, announce=True)])
                return
            if host_id not in self._asked:
                # What it said to an earlier registry was held against the policy of that one.
                self._asked.add(host_id)
                await ledger.tell([HostAssignment(host_id=host_id, announce=True)])
            agent_types = await ledger.types_of(host_id)
            has = ledger.hears(host_id, message.agents)
            found = await ledger.of_types(agent_types)
            changed = [records.heard(record, host_id, ledger.said(record.agent_id)) for record in found]
            for before, after in zip(found, changed, strict=True):
                await ledger.change(before, after)
            told = assignment(host_id, agent_types, changed, has)
            await ledger.tell([told] if told else [])
        await self._finish(changed)

    async def stopped(self, received: Received[HostStopped]) -> Answers:
        """A host that ended in good order is gone at once; what only it offered stays known."""
        ledger, host_id = self._ledger, received.message.host_id
        self._asked.discard(host_id)
        async with ledger.turn:
            hosts = await ledger.store.list_hosts()
            host = next((one for one in hosts if one.announced.host_id == host_id), None)
            ledger.forget(host_id)
            if host is None:
                return []
            if presence.is_replaced(host, hosts):
                await ledger.store.delete_host(host_id)
            else:
                await ledger.store.put_host(Host(host.announced, ledger.clock(), available=False, stopped=True))
            live = set(presence.available(hosts)) - {host_id}
            changed = []
            for record in await ledger.of_types(presence.types_of(host)):
                changed.append(records.kept_by(record, live, ledger.said(record.agent_id)))
                await ledger.change(record, changed[-1])
        await self._finish(changed)
        return []

    async def taken(self, received: Received[AgentTaken]) -> Answers:
        """A host runs an agent, or cannot: then whoever waits for it is refused, and it is gone.

        Raises:
            ForbiddenSender: the host has no agents of that one's type.
        """
        message = received.message
        ledger, agent_id = self._ledger, message.agent_id
        async with ledger.turn:
            record = await ledger.store.get_agent(agent_id)
            if record is None:
                await ledger.tell(to_stop(agent_id, [message.host_id]) if message.ok else [])
                return []
            agent_types = await ledger.types_of(message.host_id)
            if not agent_types:
                log.warning("word of a host that is not known", host_id=message.host_id, agent_id=agent_id)
                return []  # it is asked to announce itself, and then says it again
            if record.agent_type not in agent_types:
                what = f"{message.host_id} has no agents of type {record.agent_type!r}, which {agent_id!r} is of"
                raise ForbiddenSender(what)
            message = granted_taken(message, record.agent_type, self._policy)
            status = AgentStatus.IDLE if message.ok else AgentStatus.ERROR
            state = AgentState(agent_id=agent_id, status=status, error=_reason(message))
            ledger.said_by(message.host_id)[agent_id] = state
            after = records.taken(record, message, ledger.said(agent_id))
            wanted = message.ok or after.hosts or agent_id not in ledger.creators
            if not wanted:
                after = records.stopping(after)
            await ledger.change(record, after)
            if after.status is AgentStatus.STOPPING:
                hosts = await ledger.store.list_hosts()
                await ledger.tell(to_stop(agent_id, presence.available(hosts, record.agent_type)))
        if not message.ok:
            log.warning(
                "host could not start an agent", host_id=message.host_id, agent_id=agent_id, error=_reason(message)
            )
        refusal = None if wanted else could_not_start(record, message.error, message.faults)
        if records.is_finished(after):
            await self._removing.finish(agent_id, refusal)
        return []

    async def released(self, received: Received[AgentReleased]) -> Answers:
        """A host has given an agent up: the last one's word ends an agent that is being stopped."""
        message = received.message
        ledger, agent_id = self._ledger, message.agent_id
        async with ledger.turn:
            ledger.said_by(message.host_id).pop(agent_id, None)
            record = await ledger.store.get_agent(agent_id)
            if record is None:
                # Deleted while the host was silent, or was just taking it: its queue came back with the host.
                for agent_type in await ledger.types_of(message.host_id):
                    await self._removing.clear(agent_type, agent_id)
                return []
            after = records.heard(record, message.host_id, ledger.said(agent_id))
            await ledger.change(record, after)
        await self._finish([after])
        return []

    async def _drop_replaced(self) -> None:
        """Hosts that ended in good order were kept for their types alone."""
        hosts = await self._ledger.store.list_hosts()
        for host_id in presence.replaced(hosts):
            await self._ledger.store.delete_host(host_id)
            self._ledger.forget(host_id)

    async def _default_agent(self, descriptor: AgentDescriptor, host_id: str) -> None:
        store, agent_type = self._ledger.store, descriptor.agent_type
        state = AgentState(agent_id=agent_type, status=AgentStatus.IDLE)
        self._ledger.said_by(host_id).setdefault(agent_type, state)
        await store.add_agent(records.default_agent(descriptor, self._ledger.clock()))
        record = await store.get_agent(agent_type)
        if record is None or not record.default:
            log.error("an agent has the name of an agent type, which has no default agent now", agent_id=agent_type)
            return
        said = self._ledger.said(agent_type)
        await self._ledger.change(record, records.announced(record, descriptor, host_id, said))

    async def _finish(self, changed: Iterable[AgentRecord]) -> None:
        for record in changed:
            if records.is_finished(record):
                await self._removing.finish(record.agent_id)


def _reason(message: AgentTaken) -> str:
    return message.error or "; ".join(f"{fault.path}: {fault.message}" for fault in message.faults)
