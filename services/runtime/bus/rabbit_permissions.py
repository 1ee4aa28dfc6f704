"""What a RabbitMQ user needs, as RabbitMQ's permissions. Pure.

RabbitMQ's rules (its manual: Access Control, Topic Exchanges):

- to declare or delete a queue takes ``configure`` on it; one with a dead-letter exchange also ``read`` on itself and
  ``write`` on that exchange; to look one up takes nothing;
- to bind a queue takes ``write`` on it and ``read`` on the exchange, and the binding's key must match the topic
  permission to read;
- to publish takes ``write`` on the exchange, and the key must match the topic permission to write;
- to consume, get or purge takes ``read`` on the queue.

Without a topic permission for an exchange every key is allowed, so each user gets one for each exchange.
Names and keys come from the topology with placeholders (``WORD`` and its like) where something varies.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from contracts.topology import ANY_AGENT, Address, Exchange, Queue, QueueKind

WORD = "\x01"  # one word of a name or key
HEX = "\x02"  # hexadecimal digits, as in ids
REST = "\x03"  # whatever follows, of one word or more
AGENT_TYPE = "\x04"
AGENT_ID = "\x05"
_MEANINGS = {
    # A name or a word, and no wildcard: who may bind a queue to one key must not be able to bind it to all.
    WORD: "[^.*#]+",
    HEX: "[0-9a-f]+",
    REST: "[^*#]+",
    # Not what a key has in these places for work of all kinds: whoever may bind an agent's queue gets that agent's.
    AGENT_TYPE: r"(?!quarantine\.)[^.*#]+",
    AGENT_ID: rf"(?!{ANY_AGENT}\.)[^.*#]+",
}
NOTHING = "^$"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a service does.

    Attributes:
        publishes: addresses it publishes to.
        takes: queues that are there, from which it consumes.
        owns: queues that it makes, binds, consumes from and removes. Broadcast queues are gone with it.
    """

    publishes: tuple[Address, ...] = ()
    takes: tuple[Queue, ...] = ()
    owns: tuple[Queue, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicPermission:
    """Routing keys, as patterns: those it may publish with, and those it may bind its queues with."""

    write: str = NOTHING
    read: str = NOTHING


@dataclass(frozen=True, slots=True)
class Permissions:
    """As ``rabbitmqctl set_permissions`` and ``set_topic_permissions`` take them."""

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    topics: Mapping[Exchange, TopicPermission] = field(default_factory=dict)


def permissions_of(needs: Needs) -> Permissions:
    """No more than these needs take."""
    owned = [queue.name for queue in needs.owns]
    bindings = [binding for queue in needs.owns for binding in queue.bindings]
    dead = [queue.dead_letter.exchange.value for queue in needs.owns if has_dead_letters(queue)]
    return Permissions(
        configure=pattern(owned),
        write=pattern([*owned, *(address.exchange.value for address in needs.publishes), *dead]),
        read=pattern([*owned, *(queue.name for queue in needs.takes), *(one.exchange.value for one in bindings)]),
        topics={
            exchange: TopicPermission(
                write=pattern(address.key for address in needs.publishes if address.exchange is exchange),
                read=pattern(binding.key for binding in bindings if binding.exchange is exchange),
            )
            for exchange in Exchange
        },
    )


def has_dead_letters(queue: Queue) -> bool:
    return queue.kind is not QueueKind.BROADCAST and queue.delivery_limit is not None


def pattern(texts: Iterable[str]) -> str:
    """A regular expression that matches each of the texts, whole, and nothing else; ``^$`` for none."""
    alternatives = sorted({_escaped(text) for text in texts})
    return f"^({'|'.join(alternatives)})$" if alternatives else NOTHING


def _escaped(text: str) -> str:
    escaped = re.sub(r"[.^$*+?{}()\[\]|\\]", r"\\\g<0>", text)  # what RabbitMQ's expressions give a meaning to
    for placeholder, meaning in _MEANINGS.items():
        escaped = escaped.replace(placeholder, meaning)
    return escaped
