"""Choose the bus that the settings name."""

from typing import Any

from services.runtime.bus.base import Bus, BusError
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.faststream_metrics import queue_metrics
from services.runtime.bus.metered import MeteredBus
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.settings import Mode, Protocol, Settings
from services.runtime.telemetry.message_metrics import MessageMetrics
from services.runtime.telemetry.telemetry import Telemetry
from services.runtime.tls import rabbitmq_context, redis_context


class BusNotAvailable(BusError):
    """The settings name a bus that cannot be had here."""


def open_bus(
    settings: Settings,
    service_name: str,
    direct_broker: DirectBroker | None = None,
    telemetry: Telemetry | None = None,
) -> Bus:
    """A service's bus, not started yet; with signatures and encryption where the settings want them, and counted where
    there is telemetry to count for.

    ``service_name`` names the service's own key, and stands on its figures. ``direct_broker`` is what the services of
    one process share; only the ``direct`` bus needs it.

    Raises:
        BusNotAvailable: ``direct`` without a broker to share.
        BadSettings: the settings of TLS cannot be used, or contradict the URL; keys or the agent policy are missing, or
            cannot be used.
    """
    bus = _counted_bus(settings, service_name, direct_broker, telemetry)
    if settings.message_signing is Mode.OFF and settings.message_encryption is Mode.OFF:
        return bus
    # Only where it is used: it brings libraries of cryptography with it.
    from services.runtime.bus.secured_opening import secured

    return secured(bus, settings, service_name)


def _counted_bus(
    settings: Settings, service_name: str, direct_broker: DirectBroker | None, telemetry: Telemetry | None
) -> Bus:
    if telemetry is None or not telemetry.enabled:
        return _plain_bus(settings, direct_broker)
    metrics = telemetry.metrics(MessageMetrics)
    more: dict[str, Any] = {}
    if settings.communication_protocol is not Protocol.DIRECT:
        broker = settings.communication_protocol.value
        more["middlewares"] = [queue_metrics(telemetry.registry, service_name, broker)]
        more["on_reconnected"] = lambda: metrics.reconnected(service_name)
    return MeteredBus(_plain_bus(settings, direct_broker, **more), metrics, service_name)


def _plain_bus(settings: Settings, direct_broker: DirectBroker | None, **more: Any) -> Bus:
    match settings.communication_protocol:
        case Protocol.RABBITMQ:
            tls = rabbitmq_context(settings)
            return RabbitBus(settings.rabbitmq_url, tls=tls, drain_timeout=settings.shutdown_timeout, **more)
        case Protocol.DIRECT:
            if direct_broker is None:
                raise BusNotAvailable(
                    "COMMUNICATION_PROTOCOL=direct connects services of one process only: run them together with"
                    " `python -m services`, or set it to rabbitmq or redis"
                )
            return DirectBus(direct_broker, drain_timeout=settings.shutdown_timeout)
        case Protocol.REDIS:
            # Only where it is used: a service over RabbitMQ starts without it.
            from services.runtime.bus.redis import RedisBus

            tls = redis_context(settings)
            return RedisBus(settings.redis_url, tls=tls, drain_timeout=settings.shutdown_timeout, **more)
