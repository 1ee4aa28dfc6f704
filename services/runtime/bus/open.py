"""Choose the bus that the settings name."""

from services.runtime.bus.base import Bus, BusError
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.settings import Protocol, Settings


class BusNotAvailable(BusError):
    """The settings name a bus that cannot be had here."""


def open_bus(settings: Settings, direct_broker: DirectBroker | None = None) -> Bus:
    """A bus that is not started yet.

    ``direct_broker`` is what the services of one process share; only the ``direct`` bus needs it.

    Raises:
        BusNotAvailable: ``direct`` without a broker to share.
    """
    match settings.communication_protocol:
        case Protocol.RABBITMQ:
            return RabbitBus(settings.rabbitmq_url, drain_timeout=settings.shutdown_timeout)
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

            return RedisBus(settings.redis_url, drain_timeout=settings.shutdown_timeout)
