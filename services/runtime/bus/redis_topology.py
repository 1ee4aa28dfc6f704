"""The topology in Redis's terms: what the scripts are told of a queue."""

from faststream.redis import StreamSub

from contracts.topology import Queue
from services.runtime.bus.redis_lua import GROUP, PREFIX


def settings_of(queue: Queue) -> str:
    """What a queue is declared with; it cannot be declared again with anything else."""
    limit = "" if queue.delivery_limit is None else str(queue.delivery_limit)
    return "\0".join((queue.kind.value, limit, queue.dead_letter.exchange.value, queue.dead_letter.key))


def bindings_of(queue: Queue) -> tuple[str, ...]:
    """Exchange and pattern of each binding, one after the other."""
    return tuple(word for binding in queue.bindings for word in (binding.exchange.value, binding.key))


def documented_stream(queue: Queue) -> StreamSub:
    """The queue as FastStream describes it in the AsyncAPI document."""
    return StreamSub(f"{PREFIX}queue:{queue.name}", group=GROUP, consumer=GROUP)
