import pytest

from services.runtime.bus.base import BusError
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import BusNotAvailable, open_bus
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.settings import Protocol, Settings


def test_the_settings_choose_the_bus() -> None:
    rabbit = open_bus(Settings(communication_protocol=Protocol.RABBITMQ, rabbitmq_url="amqp://u:p@broker:5672/v"))
    assert isinstance(rabbit, RabbitBus)
    assert rabbit.broker.specification.url == ["amqp://broker:5672/v"]
    direct = open_bus(Settings(communication_protocol=Protocol.DIRECT), DirectBroker())
    assert isinstance(direct, DirectBus)
    assert not rabbit.connected
    assert not direct.connected


def test_redis_is_named_as_not_available_yet() -> None:
    with pytest.raises(BusNotAvailable, match="redis is not available yet"):
        open_bus(Settings(communication_protocol=Protocol.REDIS))


def test_the_direct_bus_needs_a_broker_to_share() -> None:
    with pytest.raises(BusError, match="python -m services"):
        open_bus(Settings(communication_protocol=Protocol.DIRECT))
