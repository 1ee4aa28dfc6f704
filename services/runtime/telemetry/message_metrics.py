"""What the services of a process send and take: counted by the bus that every message passes (``bus.metered``)."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.catalog import MESSAGES
from contracts.topology import DEAD_LETTER_REASONS, Exchange
from services.runtime.telemetry import buckets
from services.runtime.telemetry.bounds import UNKNOWN, elapsed
from services.runtime.telemetry.unlocked import Amount, unlocked, unlocked_histogram

ACKED: Final = "acked"
RETURNED: Final = "returned"
DEAD_LETTERED: Final = "dead_lettered"

_REASONS = frozenset(DEAD_LETTER_REASONS)


class MessageMetrics:
    """``service`` is a service of this process; ``queue`` a queue's family; a ``type`` that is not in the catalog and a
    reason that is not in the topology are ``unknown``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.published = Counter(
            "conclave_messages_published_total",
            "Messages that the broker confirmed",
            ["service", "exchange", "type"],
            registry=registry,
        )
        self.publish_seconds = Histogram(
            "conclave_publish_seconds",
            "Time until the broker had confirmed what was published together",
            ["service"],
            buckets=buckets.BROKER,
            registry=registry,
        )
        self.unroutable = Counter(
            "conclave_messages_unroutable_total",
            "Messages that should have arrived and reached no queue, or that the broker did not let the service send",
            ["service"],
            registry=registry,
        )
        self.unconfirmed = Counter(
            "conclave_messages_unconfirmed_total",
            "Tries to publish a message that failed or were not confirmed in time; a message is tried again and again",
            ["service"],
            registry=registry,
        )
        self.received = Counter(
            "conclave_messages_received_total",
            "Messages that were taken from a queue, each time they were",
            ["service", "queue"],
            registry=registry,
        )
        self.redelivered = Counter(
            "conclave_messages_redelivered_total",
            "Messages that were taken from a queue and had been delivered before",
            ["service", "queue"],
            registry=registry,
        )
        self.settled = Counter(
            "conclave_messages_settled_total",
            "Messages that were taken from a queue and are in hand no more: acked, returned or dead_lettered",
            ["service", "queue", "outcome"],
            registry=registry,
        )
        self.in_hand = Gauge(
            "conclave_messages_in_hand",
            "Messages that were taken from a queue and are not settled",
            ["service", "queue"],
            registry=registry,
        )
        self.lag = Histogram(
            "conclave_message_lag_seconds",
            "Time from when a message was sent, as its envelope says, until it was taken from its queue and read",
            ["service", "queue"],
            buckets=buckets.WORK,
            registry=registry,
        )
        self.refused = Counter(
            "conclave_messages_refused_total",
            "Messages that a service moved to the dead letters, by the reason",
            ["service", "reason"],
            registry=registry,
        )
        self._connected = Gauge(
            "conclave_bus_connected",
            "Whether the service is connected to its broker: 1, or 0",
            ["service"],
            registry=registry,
        )
        self._reconnects = Counter(
            "conclave_bus_reconnects_total",
            "How often the service connected to its broker again after it had lost it",
            ["service"],
            registry=registry,
        )

    def of_service(self, service: str) -> "ServiceMessages":
        return ServiceMessages(self, service)

    def of_queue(self, service: str, queue: str) -> "QueueMessages":
        return QueueMessages(self, service, queue)

    def connection(self, service: str, connected: Callable[[], bool]) -> None:
        """From now on ``connected`` says how the connection of the service is."""
        self._connected.labels(service).set_function(connected)
        self._reconnects.labels(service)

    def reconnected(self, service: str) -> None:
        self._reconnects.labels(service).inc()


class ServiceMessages:
    """What one service publishes."""

    def __init__(self, metrics: MessageMetrics, service: str) -> None:
        self._metrics = metrics
        self._service = service
        self._published: dict[tuple[Exchange, str], Amount] = {}
        self._seconds = unlocked_histogram(metrics.publish_seconds.labels(service))
        self._unroutable = metrics.unroutable.labels(service)
        self._unconfirmed = metrics.unconfirmed.labels(service)

    def published(self, exchange: Exchange, message_type: str, count: int) -> None:
        kind = message_type if message_type in MESSAGES else UNKNOWN
        amount = self._published.get((exchange, kind))
        if amount is None:
            amount = unlocked(self._metrics.published.labels(self._service, exchange.value, kind))
            self._published[exchange, kind] = amount
        amount.value += count

    def confirmed_within(self, seconds: float) -> None:
        self._seconds.observe(seconds)

    def unroutable(self, count: int) -> None:
        self._unroutable.inc(count)

    def unconfirmed(self, count: int) -> None:
        self._unconfirmed.inc(count)


class QueueMessages:
    """What one service takes from one family of queues."""

    def __init__(self, metrics: MessageMetrics, service: str, queue: str) -> None:
        self._metrics = metrics
        self._service = service
        self._received = unlocked(metrics.received.labels(service, queue))
        self._redelivered = metrics.redelivered.labels(service, queue)
        self._in_hand = unlocked(metrics.in_hand.labels(service, queue))
        self._lag = unlocked_histogram(metrics.lag.labels(service, queue))
        self._outcomes = {
            outcome: unlocked(metrics.settled.labels(service, queue, outcome))
            for outcome in (ACKED, RETURNED, DEAD_LETTERED)
        }

    def received(self, *, again: bool) -> None:
        self._received.value += 1
        self._in_hand.value += 1
        if again:
            self._redelivered.inc()

    def settled(self, outcome: str) -> None:
        self._outcomes[outcome].value += 1
        self._in_hand.value -= 1

    def refused(self, reason: str) -> None:
        self._metrics.refused.labels(self._service, reason if reason in _REASONS else UNKNOWN).inc()

    def lagged(self, seconds: float) -> None:
        self._lag.observe(elapsed(seconds))
