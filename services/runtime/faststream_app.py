"""A service as a FastStream application, for ``faststream run services.X.app:app --factory``."""

from typing import Protocol

from faststream import FastStream

from services.runtime.bus.base import Bus, BusError
from services.runtime.bus.open import open_bus
from services.runtime.logs import configure_logging
from services.runtime.service import Service
from services.runtime.settings import Settings, load_settings
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry, open_telemetry


class Build(Protocol):
    """A service's ``build``."""

    def __call__(self, settings: Settings, bus: Bus, *, telemetry: Telemetry) -> Service: ...


def configured_app(name: str, build: Build) -> FastStream:
    """The application of the service that ``build`` makes, as the environment says it should be."""
    settings = load_settings()
    configure_logging(settings, name)
    telemetry = open_telemetry(settings, name)
    service = build(settings, open_bus(settings, name, telemetry=telemetry), telemetry=telemetry)
    return faststream_app(service, Operations(settings, telemetry, [service]))


def faststream_app(service: Service, operations: Operations | None = None) -> FastStream:
    """The application that runs this service: it starts and stops the service, which starts and stops its broker, and
    what is shown of it.

    Raises:
        BusError: the service's bus is not one of FastStream's.
    """
    broker = getattr(service.bus, "broker", None)  # a bus over one of FastStream's, or around such a bus
    if broker is None:
        raise BusError(
            f"service {service.name!r} is on {type(service.bus).__name__}, which FastStream cannot run: set"
            " COMMUNICATION_PROTOCOL=rabbitmq or redis, or run `python -m services`"
        )
    # Hooks and not a lifespan: FastStream stops its brokers before a lifespan ends, when work is still in hand, and
    # does not see a signal while one begins, which may take as long as the broker is away.
    if operations is None:
        return FastStream(broker, on_startup=[service.start], on_shutdown=[service.stop])
    return FastStream(
        broker,
        on_startup=[operations.start, service.start],
        on_shutdown=[operations.end, service.stop, operations.stop],
    )
