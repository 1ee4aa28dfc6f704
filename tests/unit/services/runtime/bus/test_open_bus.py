import pytest

from services.runtime.bus.base import BusError
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.redis import RedisBus
from services.runtime.settings import Protocol, Settings


def test_the_settings_choose_the_bus() -> None:
    rabbit = open_bus(
        Settings(communication_protocol=Protocol.RABBITMQ, rabbitmq_url="amqp://u:p@broker:5672/v"), "edge"
    )
    assert isinstance(rabbit, RabbitBus)
    assert rabbit.broker.specification.url == ["amqp://broker:5672/v"]
    redis = open_bus(Settings(communication_protocol=Protocol.REDIS, redis_url="rediss://u:p@broker:6380/3"), "edge")
    assert isinstance(redis, RedisBus)
    assert redis.broker.specification.url == ["rediss://broker:6380/3"]
    direct = open_bus(Settings(communication_protocol=Protocol.DIRECT), "edge", DirectBroker())
    assert isinstance(direct, DirectBus)
    assert not rabbit.connected
    assert not redis.connected
    assert not direct.connected


def test_the_direct_bus_needs_a_broker_to_share() -> None:
    with pytest.raises(BusError, match="python -m services"):
        open_bus(Settings(communication_protocol=Protocol.DIRECT), "edge")
