"""Which subscriptions end first when a service stops, and which serve what is still in hand."""

from contracts.topology import Exchange, Queue, QueueKind


def brings_work(queue: Queue) -> bool:
    """Whether a queue brings something to do. A reply queue brings the answers that work in hand may be waiting for, so
    it is taken from until whoever asks has ended."""
    replies = bool(queue.bindings) and all(binding.exchange is Exchange.REPLIES for binding in queue.bindings)
    return not (replies and queue.kind is QueueKind.BROADCAST)
