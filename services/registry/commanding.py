"""Creating and deleting agents."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import structlog

from contracts import topology
from contracts.agents import AgentRecord
from contracts.execution import Refused
from contracts.registry import AgentCreated, AgentDeleted, CreateAgent, DeleteAgent
from services.registry import creating, presence, records
from services.registry.assigning import to_run, to_stop
from services.registry.ledger import Ledger
from services.registry.removing import Removing
from services.registry.waits import outcome_of
from services.runtime.bus.base import Bus
from services.runtime.envelope_codec import Outgoing
from services.runtime.known_types import known_types
from services.runtime.service import Received, Refusal

log = structlog.get_logger(__name__)

Answers = Iterable[Outgoing[Any]]


class Commanding:
    """``patience``: seconds that a command waits for its hosts; ``most``: agents there may be, default ones aside."""

    def __init__(self, ledger: Ledger, removing: Removing, bus: Bus, *, patience: float, most: int) -> None:
        self._ledger = ledger
        self._removing = removing
        self._bus = bus
        self._patience = patience
        self._most = most

    async def create(self, received: Received[CreateAgent]) -> Answers:
        """Write an agent down, give it to the hosts of its type, and answer when one of them has taken it.

        Raises:
            Refusal: it may not be created, no host would start it, or none took it in time.
        """
        command = received.message
        request_id = command.request_id or received.envelope.id
        agent_id = creating.chosen_id(command, request_id)
        with ExitStack() as waiting:
            async with self._ledger.turn:
                record, existed = await self._found_or_added(command, agent_id, request_id)
                verdict = creating.meets(command, record, request_id)
                if isinstance(verdict, Refused):
                    raise Refusal(verdict)
                if verdict == "exists":
                    return _answer(received, AgentCreated(agent=record, repeated=not received.delivery.redeliveries))
                taken = waiting.enter_context(self._ledger.creators.expecting(agent_id))
                if not existed:
                    log.info("agent created", agent_id=agent_id, agent_type=record.agent_type)
                hosts = await self._ledger.store.list_hosts()
                await self._ledger.tell(to_run(record, presence.available(hosts, record.agent_type)))
            if not received.wants_reply:
                return []
            outcome = await outcome_of(taken, self._patience)
        if not isinstance(outcome, AgentRecord):
            raise Refusal(outcome or creating.not_taken(record, self._patience))
        return _answer(received, AgentCreated(agent=outcome, repeated=existed and not received.delivery.redeliveries))

    async def delete(self, received: Received[DeleteAgent]) -> Answers:
        """Have an agent stopped wherever it runs, and answer when it is gone.

        Raises:
            Refusal: there is no such agent, it is a default agent, or its hosts were not done with it in time.
        """
        agent_id = received.message.agent_id
        ledger = self._ledger
        with ExitStack() as waiting:
            async with ledger.turn:
                record = await ledger.store.get_agent(agent_id)
                if record is None and received.delivery.redeliveries:
                    # Somebody took this command before and died: the agent went, its answer may not have.
                    return _answer(received, AgentDeleted(agent_id=agent_id))
                if record is None or record.default:
                    raise Refusal(_cannot_delete(agent_id, record))
                gone = waiting.enter_context(ledger.deleters.expecting(agent_id))
                await ledger.change(record, records.stopping(record))
                hosts = presence.available(await ledger.store.list_hosts(), record.agent_type)
                await ledger.tell(to_stop(agent_id, [*hosts, *record.hosts]))
            await self._removing.finish(agent_id)
            if not received.wants_reply:
                return []
            deleted = await outcome_of(gone, self._patience)
        if deleted is None:
            raise Refusal(_still_at_work(agent_id, self._patience))
        return _answer(received, deleted)

    async def _found_or_added(self, command: CreateAgent, agent_id: str, request_id: str) -> tuple[AgentRecord, bool]:
        """The agent of that id, and whether there was one before."""
        store = self._ledger.store
        while True:
            record = await store.get_agent(agent_id)
            if record is not None:
                return record, True
            now = self._ledger.clock()
            hosts = await store.list_hosts()
            known = known_types(hosts, now)
            live = len(presence.available(hosts, command.agent_type))
            refused = creating.refused(command, agent_id, known, live, await store.count_agents(), self._most)
            if refused is not None:
                raise Refusal(refused)
            record = creating.first_record(command, agent_id, request_id, known[command.agent_type], now)
            # From here on mail for it can wait, whichever host is first to take it.
            await self._bus.declare(topology.agent_queue(record.agent_type, agent_id))
            if await store.add_agent(record):
                return record, False


def _answer(received: Received[Any], message: AgentCreated | AgentDeleted) -> Answers:
    return [received.reply(message)] if received.wants_reply else []


def _cannot_delete(agent_id: str, record: AgentRecord | None) -> Refused:
    if record is None:
        return Refused(code="not_found", subject=agent_id, message=f"there is no agent {agent_id!r}")
    message = f"{agent_id!r} is the default agent of its type: it is there as long as its type is and cannot be deleted"
    return Refused(code="conflict", subject=agent_id, message=message)


def _still_at_work(agent_id: str, seconds: float) -> Refused:
    message = (
        f"agent {agent_id!r} has not ended what it works on within {seconds:g} s; it takes nothing new, and is deleted"
        " when it is done"
    )
    return Refused(code="unavailable", subject=agent_id, message=message)
