"""That a process ends is said at once, also while it is saying how it does."""

import asyncio
from collections.abc import Sequence

from contracts.envelope import envelope_of
from contracts.monitoring import ProcessReported
from services.runtime.bus.base import Bus, Frame
from services.runtime.telemetry.process_metrics import ProcessMetrics, SystemWatch
from services.runtime.telemetry.reporter import Reporter
from services.runtime.telemetry.telemetry import Telemetry


class Slow(Bus):
    """Takes a report as soon as it may, one after the other."""

    def __init__(self) -> None:
        self.reports: list[ProcessReported] = []
        self.may = asyncio.Event()

    @property
    def connected(self) -> bool:
        return True

    async def publish(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.reports.append(envelope_of(ProcessReported).model_validate_json(frame.body).payload)
        await self.may.wait()


async def test_it_is_told_to_end_while_a_report_is_on_its_way() -> None:
    telemetry, bus = Telemetry(), Slow()
    watch = SystemWatch(telemetry.metrics(ProcessMetrics))
    reporter = Reporter(bus, "quiet", telemetry, watch, interval=300)
    await reporter.start()
    async with asyncio.timeout(10):
        while not bus.reports:
            await asyncio.sleep(0.005)
    reporter.say_that_it_ends()
    bus.may.set()
    async with asyncio.timeout(10):
        while len(bus.reports) < 2:
            await asyncio.sleep(0.005)
    assert [report.stopping for report in bus.reports] == [False, True]
    await reporter.stop()
