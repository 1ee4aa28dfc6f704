"""A service as a FastStream application, for ``faststream run services.X.app:app --factory``."""

from faststream import FastStream

from services.runtime.bus.base import BusError
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.service import Service


def faststream_app(service: Service) -> FastStream:
    """The application that runs this service: it starts and stops the service, which starts and stops its broker.

    Raises:
        BusError: the service's bus is not one of FastStream's.
    """
    if not isinstance(service.bus, RabbitBus):
        raise BusError(
            f"service {service.name!r} is on {type(service.bus).__name__}, which FastStream cannot run: set"
            " COMMUNICATION_PROTOCOL=rabbitmq, or run `python -m services`"
        )
    # Hooks and not a lifespan: FastStream stops its brokers before a lifespan ends, when work is still in hand, and
    # does not see a signal while one begins, which may take as long as the broker is away.
    return FastStream(service.bus.broker, on_startup=[service.start], on_shutdown=[service.stop])
