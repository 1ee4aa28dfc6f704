"""The operations port of a process: metrics and health, whatever the services of the process do."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from contracts.monitoring import ProcessReported
from contracts.topology import events_feed
from services.runtime.bus.base import Bus
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.service import Outgoing, Received, Route, Service
from services.runtime.settings import BadSettings, Settings
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry


class Process:
    """A service over the direct bus, with its operations; and whoever listens to its reports."""

    def __init__(self, settings: Settings, *, enabled: bool = True) -> None:
        self.reports: asyncio.Queue[ProcessReported] = asyncio.Queue()
        broker = DirectBroker()
        self.listener = Service(
            "listener",
            DirectBus(broker),
            routes=[Route(events_feed("listener.feed", "process.reported"), handlers={ProcessReported: self._heard})],
        )
        self.bus: Bus = DirectBus(broker)
        self.service = Service("quiet", self.bus)
        self.telemetry = Telemetry(enabled=enabled)
        self.operations = Operations(settings, self.telemetry, [self.service])

    async def _heard(self, received: Received[ProcessReported]) -> list[Outgoing[ProcessReported]]:
        self.reports.put_nowait(received.message)
        return []

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{self.operations.port}{path}", headers=headers)


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    process = Process(Settings(metrics_port=0, report_interval=0.1))
    await process.listener.start()
    await process.operations.start()
    yield process
    await process.operations.stop()
    await process.service.stop()
    await process.listener.stop()


async def test_a_process_whose_services_have_not_started_is_alive_and_not_ready(process: Process) -> None:
    assert (await process.get("/health/live")).status_code == 200
    not_ready = await process.get("/health/ready")
    assert not_ready.status_code == 503
    assert not_ready.json()["services"]["quiet"]["bus"] == "not connected"
    await process.service.start()
    ready = await process.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ok",
        "services": {"quiet": {"started": "ok", "bus": "ok", "consuming": "ok"}},
    }
    assert (await process.get("/health")).json() == ready.json()


async def test_it_is_not_ready_from_the_moment_it_is_told_to_end_and_says_so_to_the_monitor(process: Process) -> None:
    await process.service.start()
    first = await asyncio.wait_for(process.reports.get(), 10)
    assert (first.stopping, first.services[0].service, first.instance) == (False, "quiet", process.telemetry.instance)
    await process.operations.end()
    assert (await process.get("/health/ready")).status_code == 503
    assert (await process.get("/health/live")).status_code == 200
    async with asyncio.timeout(10):
        while not (ending := await process.reports.get()).stopping:
            pass
    assert not ending.services[0].ready


async def test_what_is_counted_until_the_bus_closes_is_reported() -> None:
    process = Process(Settings(metrics_port=0, report_interval=300))
    counted = Counter("drained_total", "Counted while work in hand ends", registry=process.telemetry.registry)

    class Draining:
        async def start(self) -> None: ...

        async def stop(self) -> None:
            counted.inc(7)

    process.service = Service("quiet", process.bus, resources=[Draining()])
    process.operations = Operations(Settings(metrics_port=0, report_interval=300), process.telemetry, [process.service])
    await process.listener.start()
    await process.service.start()
    await process.operations.start()
    await process.operations.end()
    await process.service.stop()
    await process.operations.stop()
    reports = [process.reports.get_nowait() for _ in range(process.reports.qsize())]
    assert "drained" in {family.name.removesuffix("_total") for family in reports[-1].metrics}
    assert reports[-1].stopping
    await process.listener.stop()


async def test_metrics_are_in_prometheus_text_format(process: Process) -> None:
    page = await process.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(page.text)}
    assert {"process_cpu_seconds", "conclave_event_loop_lag_seconds", "conclave_host_memory_bytes"} <= names
    assert (await process.get("/metrics", accept="application/openmetrics-text")).text.endswith("# EOF\n")


async def test_a_report_holds_the_figures_of_the_process(process: Process) -> None:
    await process.service.start()
    report = await asyncio.wait_for(process.reports.get(), 10)
    assert report.system.memory > 1_000_000
    assert report.system.host_memory_total > report.system.host_memory_available > 0
    assert report.system.threads >= 1
    assert "process_resident_memory_bytes" in {family.name for family in report.metrics}


async def test_other_paths_and_methods_are_refused_with_what_there_is(process: Process) -> None:
    missing = await process.get("/nothing")
    assert missing.status_code == 404
    assert "/health/ready" in missing.json()["paths"]
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"http://127.0.0.1:{process.operations.port}/metrics")).status_code == 405
        head = await client.head(f"http://127.0.0.1:{process.operations.port}/health/live")
        assert (head.status_code, head.content) == (200, b"")


async def test_without_metrics_there_is_health_and_nothing_is_reported() -> None:
    process = Process(Settings(metrics_port=0, report_interval=0.1, metrics_enabled=False), enabled=False)
    await process.listener.start()
    await process.operations.start()
    await process.service.start()
    assert (await process.get("/health/ready")).status_code == 200
    refused = await process.get("/metrics")
    assert (refused.status_code, refused.json()) == (404, {"title": "METRICS_ENABLED is false"})
    await process.operations.stop()
    assert process.reports.empty()
    await process.service.stop()
    await process.listener.stop()


async def test_a_port_that_was_set_and_is_taken_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSettings, match=f"METRICS_PORT={port} cannot be had on 127.0.0.1"):
            await Process(Settings(metrics_port=port)).operations.start()


async def test_where_the_default_port_is_taken_another_is_used() -> None:
    default = Settings().metrics_port
    try:
        taken = socket.create_server(("127.0.0.1", default))
    except OSError:  # somebody else has it already
        taken = socket.socket()
    with taken:
        process = Process(Settings())
        await process.operations.start()
        assert process.operations.port not in (0, default)
        assert (await process.get("/health/live")).status_code == 200
        await process.operations.stop()
