"""What bounds RabbitMQ's queues, as its policies: an operator may change them while everything runs.

A queue's own arguments (``services.runtime.bus.rabbit_topology``) are what the services rest on, a delivery limit for
example; a broker refuses to declare a queue again with others. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts import topology
from services.runtime.bus.rabbit_permissions import HEX, REST, pattern

MIB = 1024 * 1024
FEED_BYTES = 64 * MIB
CLIENT_BYTES = 256 * MIB
STARTS_BYTES = 4096 * MIB


@dataclass(frozen=True, slots=True)
class Policy:
    """One of RabbitMQ's policies. ``pattern`` matches the whole name of a queue, and no queue matches two: RabbitMQ
    applies one policy to a queue. ``why`` says what it is for."""

    name: str
    pattern: str
    why: str
    definition: Mapping[str, int | str] = field(default_factory=dict)


def policies() -> tuple[Policy, ...]:
    """Those that Conclave needs, always in the same order.

    They use only what RabbitMQ 3.10 knows: a definition with a word that a broker does not know is refused whole.
    """
    feeds = (topology.events_feed(f"edge.{HEX}.events"), topology.monitor_feed(HEX))
    return (
        Policy(
            "feeds",
            pattern(queue.name for queue in feeds),
            "An edge or a monitor that does not keep up loses the oldest broadcasts. The edge sees the gap and reads"
            " the log; the monitor's figures rest on what it hears next.",
            {"max-length-bytes": FEED_BYTES, "overflow": "drop-head"},
        ),
        Policy(
            "clients",
            pattern([f"client.{REST}"]),
            "A client that does not keep up loses the oldest events and answers, before it fills the broker's disk and"
            " everybody has to wait.",
            {"max-length-bytes": CLIENT_BYTES, "overflow": "drop-head"},
        ),
        Policy(
            "starts",
            pattern([topology.orchestrator_starts().name]),
            "The one backlog that grows as long as publishers want it to. Beyond the limit a start is refused to its"
            " publisher; nothing that was taken is lost.",
            {"max-length-bytes": STARTS_BYTES, "overflow": "reject-publish"},
        ),
    )
