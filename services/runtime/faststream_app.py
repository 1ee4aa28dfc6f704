"""A service as a FastStream application, for ``faststream run services.X.app:app --factory``."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from faststream import FastStream

from services.runtime.bus.base import Bus, BusError
from services.runtime.bus.open import open_bus
from services.runtime.logs import configure_logging
from services.runtime.service import Service
from services.runtime.settings import Settings, load_settings


@runtime_checkable
class OnFastStream(Protocol):
    """A bus over one of FastStream's brokers."""

    @property
    def broker(self) -> Any: ...


def configured_app(name: str, build: Callable[[Settings, Bus], Service]) -> FastStream:
    """The application of the service that ``build`` makes, as the environment says it should be."""
    settings = load_settings()
    configure_logging(settings, name)
    return faststream_app(build(settings, open_bus(settings)))


def faststream_app(service: Service) -> FastStream:
    """The application that runs this service: it starts and stops the service, which starts and stops its broker.

    Raises:
        BusError: the service's bus is not one of FastStream's.
    """
    if not isinstance(service.bus, OnFastStream):
        raise BusError(
            f"service {service.name!r} is on {type(service.bus).__name__}, which FastStream cannot run: set"
            " COMMUNICATION_PROTOCOL=rabbitmq or redis, or run `python -m services`"
        )
    # Hooks and not a lifespan: FastStream stops its brokers before a lifespan ends, when work is still in hand, and
    # does not see a signal while one begins, which may take as long as the broker is away.
    return FastStream(service.bus.broker, on_startup=[service.start], on_shutdown=[service.stop])
