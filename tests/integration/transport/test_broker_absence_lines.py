"""A broker that is away has few lines in the log: that it is lost and why, that it is away, that it is back."""

import asyncio
import logging

import pytest

from services.runtime.bus.rabbit import RabbitBus
from tests.support.amqp_proxy import AmqpProxy
from tests.support.buses import PATIENCE
from tests.support.log_capture import captured_lines


class Attempts(logging.Handler):
    """Counts what aio-pika says of its attempts."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.failed += record.getMessage().startswith("Connection attempt")


@pytest.mark.rabbitmq
async def test_a_lost_connection_is_said_once_however_often_it_is_tried_again(rabbit_url: str) -> None:
    attempts = Attempts()
    connecting = logging.getLogger("aio_pika.robust_connection")
    async with AmqpProxy(rabbit_url) as proxy:
        with captured_lines(service="tested") as lines:
            back_again = asyncio.Event()
            bus = RabbitBus(proxy.url, on_reconnected=back_again.set)
            await bus.start()
            connecting.addHandler(attempts)
            try:
                proxy.refusing = True
                proxy.cut()
                async with asyncio.timeout(PATIENCE):
                    while attempts.failed < 3:
                        await asyncio.sleep(0.05)
                proxy.heal()
                async with asyncio.timeout(PATIENCE):
                    await back_again.wait()
            finally:
                connecting.removeHandler(attempts)
            await bus.close()
    ours = [line["event"] for line in lines if line["event"].endswith("RabbitMQ again") or "lost" in line["event"]]
    assert ours == ["connection to RabbitMQ lost", "connected to RabbitMQ again"]
    still = [line for line in lines if line["event"] == "still not connected to RabbitMQ"]
    assert len(still) == len({line["error"] for line in still}) <= 1, "at once only what is new"
    assert not [line for line in lines if "transport" in line["event"] or "Connection attempt" in line["event"]]
    (back,) = [line for line in lines if line["event"] == "connected to RabbitMQ again"]
    assert back["failures"] >= 3
