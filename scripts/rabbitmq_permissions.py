"""Which RabbitMQ user needs what: derived from who sends which message, from the topology, and from the agent policy.

Pure; ``scripts/rabbitmq_users.py`` makes it so. A service that takes from another queue than before says so here
(``_TAKES``); what it may send follows from ``services.runtime.security.senders``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts import topology
from contracts.envelope import Message
from contracts.execution import CancelExecution, DescribeExecution, RunSteps, StartExecution
from contracts.registry import BroadcastMail, FindAgents
from contracts.topology import DEAD_LETTER_REASONS, Address, Exchange, Queue
from scripts.rabbitmq_policies import Policy, policies
from services.runtime.bus.rabbit_permissions import (
    AGENT_ID,
    AGENT_TYPE,
    HEX,
    REST,
    WORD,
    Needs,
    Permissions,
    permissions_of,
)
from services.runtime.security.policy import BUILT_IN, AgentPolicy
from services.runtime.security.senders import AGENT, CLIENT, SENDERS

AGENT_SERVICES: Mapping[str, tuple[str, ...]] = {
    "data_agent": ("data_agent",),
    "decision_agent": ("decision_agent",),
    "coordinator_agent": ("coordinator_agent",),
    "plugin_agent": (),
}
"""Services that host agents, and the agent types of each."""

CLIENTS = ("client",)
WATCHERS = ("scaler",)
"""Users that only look at how many messages wait in a queue, which RabbitMQ lets everybody do who may connect: KEDA."""

EVENTS_OF_CLIENTS = (
    "execution.*",
    "execution.#",
    "execution.advanced",
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "workflow.*",
    "workflow.#",
    "workflow.created",
    "workflow.deleted",
    "command.refused",
)
"""What a client may bind a queue of its own to; the rest is between services."""

_TAKES: Mapping[str, tuple[Queue, ...]] = {
    "edge": (),
    "orchestrator": (
        topology.orchestrator_commands(),
        topology.orchestrator_starts(),
        *topology.orchestrator_shards(),
        topology.orchestrator_crashed(),
    ),
    "registry": (topology.registry_queue(),),
    "dead_letters": (topology.dead_letters(), topology.dead_letter_commands()),
    "access": (topology.access_queue(),),
    "auditor": (topology.auditor_queue(),),
    "monitor": (topology.monitor_queue(),),
}
SERVICES = tuple(_TAKES)

# What a host sends only if the policy grants it to one of its types.
_TO_START: tuple[type[Message], ...] = (StartExecution, CancelExecution, DescribeExecution)
_TO_MESSAGE: tuple[type[Message], ...] = (FindAgents, BroadcastMail)


@dataclass(frozen=True, slots=True)
class Broker:
    """Everything that RabbitMQ is to have. ``queues`` are those that last."""

    users: Mapping[str, Permissions]
    queues: tuple[Queue, ...]
    policies: tuple[Policy, ...]


def broker_of(
    agent_services: Mapping[str, Sequence[str]] = AGENT_SERVICES,
    clients: Sequence[str] = CLIENTS,
    policy: AgentPolicy = BUILT_IN,
) -> Broker:
    """
    Args:
        agent_services: services that host agents, with their agent types.
        clients: programs that publish straight onto the broker.
        policy: who of the agents may start workflows and message others.

    Raises:
        ValueError: a name is that of two users.
    """
    needs = {name: service_needs(name) for name in SERVICES}
    more = {
        **{name: host_needs(name, types, policy) for name, types in agent_services.items()},
        **{name: client_needs(name) for name in clients},
    }
    needs |= {name: Needs() for name in WATCHERS}
    twice = sorted({*(needs.keys() & more.keys()), *(agent_services.keys() & set(clients))})
    if twice:
        raise ValueError(f"{twice[0]!r} is the name of two users; each service and each client needs one of its own")
    users = {name: permissions_of(need) for name, need in (needs | more).items()}
    types = sorted({agent_type for types in agent_services.values() for agent_type in types})
    return Broker(users, (*_lasting_queues(), *(queue for one in types for queue in _type_queues(one))), policies())


def service_needs(name: str) -> Needs:
    """Of one of Conclave's services that hosts no agents."""
    publishes = [*_sent_by(name), *(_burials() if name != "auditor" else ())]
    owns: tuple[Queue, ...] = ()
    if name == "edge":
        owns = (
            topology.reply_queue(f"reply.edge.{HEX}"),
            topology.events_feed(f"edge.{HEX}.events", "execution.advanced"),
        )
    elif name == "monitor":
        owns = (topology.monitor_feed(HEX),)
    elif name == "registry":
        owns = (topology.agent_queue(AGENT_TYPE, AGENT_ID),)
    elif name == "dead_letters":
        # What it publishes again may have been sent by anyone to anywhere but in answer to a question.
        again = (Exchange.COMMANDS, Exchange.AGENTS, Exchange.RESULTS, Exchange.EVENTS)
        publishes += [Address(exchange, REST) for exchange in again]
        publishes += topology.unstorable_letters().bindings
    return Needs(tuple(publishes), _TAKES[name], owns)


def host_needs(name: str, agent_types: Sequence[str], policy: AgentPolicy = BUILT_IN) -> Needs:
    """Of a service that hosts agents. Its agents' queues are made by the registry and by this script."""
    may_start, may_message = policy.rights_of(agent_types)
    not_granted = (*(() if may_start else _TO_START), *(() if may_message else _TO_MESSAGE))
    host_id = f"{name}-{HEX}"
    return Needs(
        publishes=(*_sent_by(AGENT, without=not_granted), *_burials()),
        takes=tuple(
            queue
            for agent_type in agent_types
            for queue in (*_type_queues(agent_type), topology.agent_queue(agent_type, WORD))
        ),
        owns=(
            topology.host_queue(host_id, agent_types),
            topology.reply_queue(f"reply.{host_id}.{HEX}"),
        ),
    )


def client_needs(name: str) -> Needs:
    """Of a program that publishes straight onto the broker: its queues are called ``client.`` and anything."""
    queue = f"client.{REST}" if name == "client" else f"client.{name}.{REST}"
    return Needs(
        publishes=tuple(_sent_by(CLIENT)),
        owns=(topology.reply_queue(queue), topology.events_feed(queue, *EVENTS_OF_CLIENTS)),
    )


# ---- within


def _lasting_queues() -> tuple[Queue, ...]:
    return (*(queue for queues in _TAKES.values() for queue in queues), topology.unstorable_letters())


def _type_queues(agent_type: str) -> tuple[Queue, Queue]:
    return topology.agent_type_queue(agent_type), topology.agent_quarantine_queue(agent_type)


def _burials() -> tuple[Address, ...]:
    """Whoever takes messages sends those on that it cannot handle."""
    return tuple(topology.dead(reason) for reason in DEAD_LETTER_REASONS)


def _sent_by(sender: str, without: Iterable[type[Message]] = ()) -> list[Address]:
    """Where the messages go that a sender may send, by its place in ``SENDERS``."""
    classes = [one for one, senders in SENDERS.items() if sender in senders and one not in without]
    return [address for one in classes for address in addresses_of(one)]


def addresses_of(message_class: type[Message]) -> tuple[Address, ...]:
    """Where messages of a class go, with placeholders. Those that are only ever answers go to any queue that awaits
    some; who sends them may answer with other messages, too."""
    if message_class is StartExecution:
        return _address(StartExecution), topology.start_now()
    if message_class is RunSteps:
        return (
            _address(RunSteps, agent_id=None, quarantine=False),
            _address(RunSteps, quarantine=False),
            _address(RunSteps, quarantine=True),
        )
    try:
        return (_address(message_class),)
    except NotImplementedError:
        return _ANSWERS


_ANSWERS = (topology.reply(f"reply.{REST}"), topology.reply(f"client.{REST}"))
_FIELDS: Mapping[str, Any] = {
    "agent_type": WORD,
    "agent_id": WORD,
    "action": WORD,
    "host_id": WORD,
    "reply_key": f"shard.{WORD}",
}


def _address(message_class: type[Message], **fields: Any) -> Address:
    return message_class.model_construct(**{**_FIELDS, **fields}).address()
