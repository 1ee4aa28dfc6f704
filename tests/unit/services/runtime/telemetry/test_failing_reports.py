"""A report that fails costs nothing but itself."""

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from contracts.topology import events_feed
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.buses import Inbox
from tests.support.log_capture import captured_lines


class Broken(Collector):
    def __init__(self) -> None:
        self.asked = 0

    def collect(self) -> list[Metric]:
        self.asked += 1
        raise RuntimeError("/proc cannot be read any more")

    def describe(self) -> list[Metric]:
        return []


async def test_a_process_whose_last_report_fails_ends_in_good_order() -> None:
    telemetry, broken, broker, heard = Telemetry(), Broken(), DirectBroker(), Inbox()
    listener = DirectBus(broker)
    listener.subscribe(events_feed("reports", "process.reported"), heard, prefetch=10)
    await listener.start()
    service = Service("quiet", DirectBus(broker))
    operations = Operations(Settings(metrics_port=0, report_interval=300), telemetry, [service])
    await service.start()
    await operations.start()
    await heard.wait_for(1)  # the first report is out
    telemetry.registry.register(broken)
    with captured_lines() as lines:
        await operations.stop()
        await service.stop()
    assert broken.asked == 1
    assert "report failed" in {line["event"] for line in lines}
    assert not service.bus.connected
    await listener.close()
