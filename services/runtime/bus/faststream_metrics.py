"""FastStream's own metrics (``faststream_*``) of what a broker's subscribers take, for dashboards made for FastStream.

``handler`` is the family of the queue, where FastStream would say exchange and routing key, in which there are ids.

What they cannot know, and ``bus.metered`` does: how a message was settled, since a handler may take it over and settle
it later, and none raises for FastStream to see. So their ``status`` is always ``acked``, and their duration is the time
until the handler returned. Nothing is published through FastStream, so its metrics of publishing stay empty.
"""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

from faststream.exceptions import IgnoredException
from faststream.message import StreamMessage
from faststream.prometheus import ConsumeAttrs
from faststream.prometheus.consts import (
    PROCESSING_STATUS_BY_ACK_STATUS,
    PROCESSING_STATUS_BY_HANDLER_EXCEPTION_MAP,
)
from faststream.prometheus.manager import MetricsManager
from faststream.prometheus.middleware import BasePrometheusMiddleware, PrometheusMiddleware
from faststream.prometheus.types import ProcessingStatus
from faststream.response import PublishCommand
from prometheus_client import CollectorRegistry

from services.runtime.telemetry.unlocked import unlocked, unlocked_histogram

Parse = Callable[[Any], Awaitable[Any]]

_FAMILY: Final = "queue"  # in the path parameters of a message, which nothing else here has
_NOWHERE: Final = ""


def in_family(parse: Parse, family: str) -> Parse:
    """A subscriber's ``parse`` that also notes whose messages they are."""

    async def parse_and_note(message: Any) -> Any:
        parsed = await parse(message)
        parsed.path[_FAMILY] = family
        return parsed

    return parse_and_note


def queue_metrics(registry: CollectorRegistry, service: str, broker: str) -> PrometheusMiddleware[Any, Any]:
    """The middleware for one service's broker; brokers of one process share the registry.

    Args:
        service: what ``app_name`` says.
        broker: ``rabbitmq`` or ``redis``.
    """
    return _QueueMetrics(registry, service, broker)


class _QueueMetrics(PrometheusMiddleware[Any, Any]):
    """FastStream makes a middleware for every message that comes. All of this broker's are one: it remembers nothing of
    a message."""

    def __init__(self, registry: CollectorRegistry, service: str, broker: str) -> None:
        provider = _Families(broker)
        super().__init__(settings_provider_factory=lambda _: provider, registry=registry, app_name=service)
        self._one: _Taking | None = None
        self._of_a_handler = lambda handler: _Handler(self._metrics_container, service, broker, handler)

    def __call__(self, msg: Any, /, *, context: Any) -> BasePrometheusMiddleware[Any, Any]:
        if msg is None:  # to publish
            return super().__call__(msg, context=context)
        if self._one is None:
            self._one = _Taking(self._of_a_handler, self._metrics_manager, self._settings_provider_factory, context)
        return self._one


class _Families:
    """What FastStream asks of a message."""

    def __init__(self, broker: str) -> None:
        self.messaging_system = broker

    def get_consume_attrs_from_message(self, msg: StreamMessage[Any]) -> ConsumeAttrs:
        return ConsumeAttrs(
            destination_name=msg.path.get(_FAMILY, _NOWHERE), message_size=len(msg.body), messages_count=1
        )

    def get_publish_destination_name_from_cmd(self, cmd: PublishCommand) -> str:
        return _NOWHERE


class _Handler:
    """The series of one handler."""

    def __init__(self, container: Any, app_name: str, broker: str, handler: str) -> None:
        self.labels = {"broker": broker, "handler": handler}
        labels = {"app_name": app_name, **self.labels}
        self.received = unlocked(container.received_messages_total.labels(**labels))
        self.size = unlocked_histogram(container.received_messages_size_bytes.labels(**labels))
        self.in_process = unlocked(container.received_messages_in_process.labels(**labels))
        self.duration = unlocked_histogram(container.received_processed_messages_duration_seconds.labels(**labels))
        self.processed = unlocked(
            container.received_processed_messages_total.labels(**labels, status=ProcessingStatus.acked.value)
        )


class _Taking(BasePrometheusMiddleware[Any, Any]):
    """Counts what FastStream's counts. That one looks up six series by their labels for every message, and takes a lock
    for each figure."""

    def __init__(
        self,
        of_a_handler: Callable[[str], _Handler],
        manager: MetricsManager,
        provider: Callable[[Any], Any],
        context: Any,
    ) -> None:
        super().__init__(
            None, settings_provider_factory=provider, metrics_manager=manager, context=context, custom_labels={}
        )
        self._of_a_handler = of_a_handler
        self._handlers: dict[str, _Handler] = {}

    async def __aenter__(self) -> "_Taking":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]) -> Any:
        family = msg.path.get(_FAMILY, _NOWHERE)
        handler = self._handlers.get(family)
        if handler is None:
            handler = self._handlers[family] = self._of_a_handler(family)
        handler.received.value += 1
        handler.size.observe(len(msg.body))
        handler.in_process.value += 1
        error: Exception | None = None
        began = perf_counter()
        try:
            return await call_next(msg)
        except Exception as raised:
            error = raised
            raise
        finally:
            handler.duration.observe(perf_counter() - began)
            handler.in_process.value -= 1
            if error is None and not msg.committed:
                handler.processed.value += 1
            else:
                self._otherwise(handler, msg, error)

    def _otherwise(self, handler: _Handler, msg: StreamMessage[Any], error: Exception | None) -> None:
        if error is not None and not isinstance(error, IgnoredException):
            self._metrics_manager.add_received_processed_message_exception(
                exception_type=type(error).__name__, **handler.labels
            )
        status = msg.committed and PROCESSING_STATUS_BY_ACK_STATUS.get(msg.committed)
        raised = PROCESSING_STATUS_BY_HANDLER_EXCEPTION_MAP.get(type(error)) if error is not None else None
        self._metrics_manager.add_received_processed_message(
            amount=1, status=status or raised or ProcessingStatus.error, **handler.labels
        )
