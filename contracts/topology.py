"""Exchanges, routing keys and queues: the only place that spells their names.

A message class asks this module for its address; a service's subscription table asks it for its queue.
Nothing else in the project writes a routing key.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Exchange(StrEnum):
    """The topic exchanges. Not even replies go through the broker's default exchange: who may write to that may write
    to every queue there is."""

    REPLIES = "conclave.replies"  # answers, by the queue that waits for them
    COMMANDS = "conclave.commands"  # to the orchestrator and the registry
    AGENTS = "conclave.agents"  # work for agents
    RESULTS = "conclave.results"  # results and wake-ups, by shard
    EVENTS = "conclave.events"  # what happened, for whoever wants to know
    DEAD = "conclave.dead"  # what could not be handled, with its reason


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message goes: an exchange and a routing key."""

    exchange: Exchange
    key: str

    @property
    def must_arrive(self) -> bool:
        """Whether no queue taking it is an error. Nobody need listen to an event, and who asked may have gone."""
        return self.exchange not in (Exchange.EVENTS, Exchange.REPLIES)


class QueueKind(StrEnum):
    WORK = "work"  # durable, replicated, competing consumers
    SINGLE = "single"  # durable, replicated, one active consumer at a time
    BROADCAST = "broadcast"  # one per subscriber, gone with it


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and what is bound to it.

    ``delivery_limit`` is how often a message may be *re*delivered before it goes to ``dead_letter``
    (None: without limit, as far as the broker has such a thing). Messages of a queue that is ``sealed`` come as they
    were published, neither decrypted nor verified: for those who keep or record whatever it is. ``family`` is what the
    queue is called in figures, where there must be no ids of hosts, agents or processes; by default its name.
    """

    name: str
    bindings: tuple[Address, ...]
    kind: QueueKind = QueueKind.WORK
    delivery_limit: int | None = 20
    dead_letter: Address = field(default=Address(Exchange.DEAD, "delivery-limit"))
    sealed: bool = False
    family: str = ""

    def __post_init__(self) -> None:
        if not self.family:
            object.__setattr__(self, "family", self.name)


ANY_AGENT = "any"
RESULTS_DELIVERY_LIMIT = 100_000
AGENT_DELIVERY_LIMIT = 3
SHARDS = 12  # as many orchestrators can share the results, evenly if 2, 3, 4, 6 or 12


# ---- addresses: a message class knows which of these is its own


def command(name: str) -> Address:
    """A command to the orchestrator or the registry; ``name`` is the message type without its version."""
    return Address(Exchange.COMMANDS, name)


def start_now() -> Address:
    """Where a start goes whose sender waits for the answer: taken or refused at once. A start under its own key,
    ``execution.start``, waits in its queue while there is no room for it."""
    return command("execution.start_now")


def event(name: str) -> Address:
    return Address(Exchange.EVENTS, name)


def agent_work(agent_type: str, agent_id: str | None, action: str) -> Address:
    """Work for any host of a type, or for one named agent."""
    return Address(Exchange.AGENTS, f"{agent_type}.{agent_id or ANY_AGENT}.{action}")


def agent_quarantine(agent_type: str, action: str) -> Address:
    """Work that may have killed a host: run alone, in a process of its own."""
    return Address(Exchange.AGENTS, f"quarantine.{agent_type}.{action}")


def agent_mail(agent_id: str) -> Address:
    """A message to one agent; a type's default agent has the type's name for its id."""
    return Address(Exchange.AGENTS, f"mail.{agent_id}")


def host_control(host_id: str) -> Address:
    """What the registry tells one host."""
    return event(f"control.{host_id}")


def steps_cancelled(agent_type: str) -> Address:
    """For every host of a type: work that nobody waits for any more."""
    return event(f"steps_cancelled.{agent_type}")


def shard_key(execution_id: str, shards: int = SHARDS) -> str:
    """The key under which an execution's results travel: it chooses the shard queue."""
    digest = hashlib.blake2b(execution_id.encode(), digest_size=4).digest()
    return f"shard.{int.from_bytes(digest, 'big') % shards}"


SHARD_KEY_PATTERN = r"^shard\.[A-Za-z0-9_-]{1,100}$"


def shard(key: str) -> Address:
    return Address(Exchange.RESULTS, key)


def dead(reason: str) -> Address:
    return Address(Exchange.DEAD, reason)


def reply(queue_name: str) -> Address:
    """Where an answer goes: ``queue_name`` is what the question said in ``reply_to``, and a queue that is bound to the
    exchange by its own name."""
    return Address(Exchange.REPLIES, queue_name)


# ---- queues: a service's subscription table is made of these


def orchestrator_commands() -> Queue:
    """What is answered at once, whatever else waits."""
    return Queue(
        "orchestrator.commands",
        (start_now(), command("execution.cancel"), command("execution.describe"), command("workflow.*")),
        delivery_limit=RESULTS_DELIVERY_LIMIT,
    )


def orchestrator_starts() -> Queue:
    """Starts that may wait here until there is room for them."""
    return Queue("orchestrator.starts", (command("execution.start"),), delivery_limit=RESULTS_DELIVERY_LIMIT)


def orchestrator_shards(shards: int = SHARDS) -> tuple[Queue, ...]:
    """One single-active-consumer queue a shard: one replica usually owns an execution and keeps it cached."""
    return tuple(
        Queue(
            f"orchestrator.shard.{i}",
            (shard(f"shard.{i}"),),
            QueueKind.SINGLE,
            delivery_limit=RESULTS_DELIVERY_LIMIT,
        )
        for i in range(shards)
    )


def orchestrator_crashed() -> Queue:
    """Commands whose host died until their delivery limit; the orchestrator sends them to quarantine."""
    return Queue("orchestrator.crashed", (dead("crashed.#"),), delivery_limit=RESULTS_DELIVERY_LIMIT)


def agent_type_queue(agent_type: str) -> Queue:
    """Shared by every host of a type: competing consumers are the load balancing. It is the default agent's queue, so
    its mail comes here too."""
    return Queue(
        agent_type,
        (Address(Exchange.AGENTS, f"{agent_type}.{ANY_AGENT}.*"), agent_mail(agent_type)),
        delivery_limit=AGENT_DELIVERY_LIMIT,
        dead_letter=dead(f"crashed.{agent_type}"),
    )


def crashed_from(key: str) -> tuple[Address, ...]:
    """The addresses that a message may have had which the broker moved under this key of the dead letters when it
    exceeded the delivery limit of an agent's queue; none for a key of another kind."""
    reason, _, agent_type = key.partition(".")
    if reason != "crashed" or not agent_type:
        return ()
    return Address(Exchange.AGENTS, f"{agent_type}.*.*"), agent_mail("*")


def agent_quarantine_queue(agent_type: str) -> Queue:
    return Queue(
        f"{agent_type}.quarantine",
        (Address(Exchange.AGENTS, f"quarantine.{agent_type}.*"),),
        delivery_limit=RESULTS_DELIVERY_LIMIT,
    )


def agent_queue(agent_type: str, agent_id: str) -> Queue:
    """An instance's own queue: its commands and its mail. Every host of its type stands by, and one is active, so the
    instance is in one place at a time and goes on in another when its host dies."""
    return Queue(
        f"{agent_type}.agent.{agent_id}",
        (Address(Exchange.AGENTS, f"{agent_type}.{agent_id}.*"), agent_mail(agent_id)),
        QueueKind.SINGLE,
        delivery_limit=AGENT_DELIVERY_LIMIT,
        dead_letter=dead(f"crashed.{agent_type}"),
        family=f"{agent_type}.agent",
    )


def host_queue(host_id: str, agent_types: Sequence[str]) -> Queue:
    """What one host is told: by the registry, and of cancelled work of its types. Gone with the host."""
    return Queue(
        f"host.{host_id}",
        (host_control(host_id), *(steps_cancelled(agent_type) for agent_type in agent_types)),
        QueueKind.BROADCAST,
        delivery_limit=None,
        family="host",
    )


def registry_queue() -> Queue:
    """Commands about agents and what hosts say. One replica is active, so that what it decides is decided once."""
    return Queue(
        "registry", (command("agent.*"), event("host.*")), QueueKind.SINGLE, delivery_limit=RESULTS_DELIVERY_LIMIT
    )


DEAD_LETTER_REASONS = (
    "contract",
    "unknown-type",
    "unknown-execution",
    "refused",
    "handler-failed",
    "delivery-limit",
    "agent-failed",  # an agent failed on a message until the limit of its retries, or refused it
    "agent-removed",  # its agent was deleted before it came to it
    "unsigned",  # MESSAGE_SIGNING=required, and it has no signature
    "bad-signature",  # altered, or signed by another key than it names
    "unknown-key",  # signed by a key that is not trusted, or not any more
    "expired",  # signed too long ago
    "replayed",  # its id was seen before, longer ago than anybody publishes a message again
    "forbidden-sender",  # properly signed by one who may not send this
    "undecryptable",  # encrypted with a key that is not here, altered, or not encrypted though it must be
)


def dead_letters() -> Queue:
    """Everything that could not be handled, with its reason in the headers, on its way into the store."""
    return Queue(
        "dead-letters", tuple(dead(reason) for reason in DEAD_LETTER_REASONS), delivery_limit=None, sealed=True
    )


def unstorable_letters() -> Queue:
    """Dead letters too large for the store. Nobody takes from it."""
    return Queue("dead-letters.unstorable", (dead("unstorable"),), delivery_limit=None, sealed=True)


def dead_letter_commands() -> Queue:
    return Queue("dead_letters.commands", (command("dead_letter.*"),), delivery_limit=RESULTS_DELIVERY_LIMIT)


def events_feed(name: str, *keys: str) -> Queue:
    """One subscriber's own copy of the events whose keys match (``*`` one word, ``#`` any number)."""
    bindings = tuple(event(key) for key in keys or ("#",))
    return Queue(name, bindings, QueueKind.BROADCAST, delivery_limit=None, family="events")


def monitor_queue() -> Queue:
    """Questions about how everything does. Every replica hears every report, so any may answer."""
    return Queue("monitor", (command("monitoring.*"),), delivery_limit=RESULTS_DELIVERY_LIMIT)


def monitor_feed(replica: str) -> Queue:
    """What one replica of the monitor hears: how processes do, and how executions end."""
    keys = ("process.reported", "execution.completed", "execution.failed", "execution.cancelled")
    return events_feed(f"monitor.{replica}.events", *keys)


def access_queue() -> Queue:
    """Commands about API keys. One replica is active, so that what it decides is decided once."""
    return Queue("access", (command("api_key.*"),), QueueKind.SINGLE, delivery_limit=RESULTS_DELIVERY_LIMIT)


def auditor_queue() -> Queue:
    """Copies, made by the broker as it takes the message, of every command, of every answer, of what came to an end or
    was refused, and of every dead letter; and what the edge says of requests. One replica writes.

    Of commands it takes what some service takes, and no more: whoever publishes one that nobody takes is to be told."""
    taken = (orchestrator_commands(), orchestrator_starts(), registry_queue(), dead_letter_commands(), access_queue())
    return Queue(
        "auditor",
        (
            *(binding for queue in taken for binding in queue.bindings if binding.exchange is Exchange.COMMANDS),
            reply("#"),
            *(event(key) for key in ("audit.#", "execution.completed", "execution.failed", "execution.cancelled")),
            *(event(key) for key in ("command.refused", "host.announced", "host.stopped")),
            *(dead(reason) for reason in DEAD_LETTER_REASONS),
        ),
        QueueKind.SINGLE,
        delivery_limit=RESULTS_DELIVERY_LIMIT,
        sealed=True,
    )


def reply_queue(name: str) -> Queue:
    return Queue(name, (reply(name),), QueueKind.BROADCAST, delivery_limit=None, family="reply")
