"""Spans on their way to a collector, over real HTTP: one that takes them, one that is away, one that hangs."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog

from scripts.servers import free_port
from services.runtime.settings import BadSettings, Settings, load_settings
from services.runtime.telemetry import tracing_export
from services.runtime.telemetry.span_sorts import LONGEST_TEXT, AttributeValue, Kind
from services.runtime.telemetry.telemetry import Telemetry, open_telemetry
from services.runtime.telemetry.trace_context import TraceContext, child_of, new_root
from services.runtime.telemetry.tracing import LONGEST_ERROR, Tracing, open_tracing
from tests.support.otlp_receiver import OtlpReceiver

LOST = "traces cannot be delivered and are lost"
NOW = 1_700_000_000.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """A collector that takes what comes, and has the time for it on a machine that stands still."""
    monkeypatch.setattr(tracing_export, "FLUSH_SECONDS", 30.0)
    with OtlpReceiver() as receiver:
        yield receiver


def settings(endpoint: str, **more: object) -> Settings:
    return Settings.model_validate({"otlp_endpoint": endpoint, "communication_protocol": "direct", **more})


@asynccontextmanager
async def traced(endpoint: str, **more: object) -> AsyncIterator[Tracing]:
    tracing = open_tracing(settings(endpoint, **more), "orchestrator", "instance-1")
    assert tracing is not None
    try:
        yield tracing
    finally:
        await tracing.stop()


def record(
    tracing: Tracing,
    context: TraceContext,
    parent: TraceContext | None = None,
    *,
    start: float = NOW,
    end: float = NOW + 1,
    error: str = "",
    **attributes: AttributeValue,
) -> None:
    tracing.record(
        "work",
        kind=Kind.CONSUMER,
        context=context,
        parent=parent,
        start=start,
        end=end,
        attributes=attributes,
        error=error,
    )


async def test_a_span_arrives_as_it_was_recorded(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging,service.name=not-this")
    root = new_root(1.0)
    child = child_of(root)
    async with traced(receiver.endpoint) as tracing:
        record(tracing, child, root, name="x", count=3, ok=True, share=0.5)
        record(tracing.of("edge"), root)
    by_service = {span.service: span for span in receiver.spans}
    span = by_service["orchestrator"]
    assert (span.trace_id, span.span_id) == (f"{root.trace_id:032x}", f"{child.span_id:016x}")
    assert span.parent_id == f"{root.span_id:016x}" == by_service["edge"].span_id
    assert by_service["edge"].parent_id == ""
    assert span.kind_and_name == ("CONSUMER", "work")
    assert (span.start, span.end) == (1_700_000_000_000_000_000, 1_700_000_001_000_000_000)
    assert span.attributes == {"name": "x", "count": 3, "ok": True, "share": 0.5}
    assert not span.failed
    assert span.resource["service.namespace"] == "conclave"
    assert span.resource["service.instance.id"] == "instance-1"
    assert span.resource["deployment.environment.name"] == "staging"
    assert span.resource["service.version"]
    assert {request[":path"] for request in receiver.requests} == {"/v1/traces"}
    assert {request["authorization"] for request in receiver.requests} == {"Bearer abc"}
    assert {request["content-type"] for request in receiver.requests} == {"application/x-protobuf"}


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_endpoint_is_a_base_url(receiver: OtlpReceiver, slash: str) -> None:
    async with traced(f"{receiver.endpoint}/tenant{slash}") as tracing:
        record(tracing, new_root(1.0))
    assert [request[":path"] for request in receiver.requests] == ["/tenant/v1/traces"]


async def test_an_error_is_masked_and_cut(receiver: OtlpReceiver) -> None:
    async with traced(receiver.endpoint) as tracing:
        record(tracing, new_root(1.0), error="Refused: password=hunter2 " + "x" * 5_000)
    (span,) = receiver.spans
    assert span.failed
    assert span.error.startswith("Refused: password=*** xxx")
    assert len(span.error) == LONGEST_ERROR


async def test_a_clock_that_goes_back_makes_no_negative_time(receiver: OtlpReceiver) -> None:
    async with traced(receiver.endpoint) as tracing:
        record(tracing, new_root(1.0), start=NOW, end=NOW - 5)
    (span,) = receiver.spans
    assert span.start == span.end


async def test_what_is_not_sampled_is_not_recorded(receiver: OtlpReceiver) -> None:
    async with traced(receiver.endpoint, trace_sample_ratio=0.0) as tracing:
        for _ in range(100):
            record(tracing, tracing.new_root())
    assert receiver.requests == []


async def test_many_spans_arrive_all_and_once(receiver: OtlpReceiver) -> None:
    async with traced(receiver.endpoint) as tracing:
        contexts = [new_root(1.0) for _ in range(5_000)]
        for context in contexts:
            record(tracing, context)
    assert sorted(span.span_id for span in receiver.spans) == sorted(f"{one.span_id:016x}" for one in contexts)
    assert 3 <= len(receiver.requests) < 100  # in batches


async def test_a_collector_that_is_away_is_mentioned_once(capfd: pytest.CaptureFixture[str]) -> None:
    with structlog.testing.capture_logs() as said:
        async with traced(f"http://127.0.0.1:{free_port()}") as tracing:
            for _ in range(3_000):
                record(tracing, new_root(1.0))
            began = time.monotonic()
        waited = time.monotonic() - began
    assert [(line["log_level"], line["event"]) for line in said] == [
        ("warning", "traces cannot be delivered and are lost")
    ]
    assert waited < 20  # it gives up after two seconds, and does not try for half a minute
    assert "opentelemetry" not in "".join(capfd.readouterr()).lower()


async def test_a_collector_that_comes_back_gets_what_comes_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")  # only what fills a batch leaves before the end
    monkeypatch.setattr(tracing_export, "FLUSH_SECONDS", 30.0)
    port = free_port()
    tracing = open_tracing(settings(f"http://127.0.0.1:{port}"), "orchestrator")
    assert tracing is not None
    with structlog.testing.capture_logs() as said:
        with OtlpReceiver(status=400, port=port) as refusing:
            await _recorded(tracing, 600, refusing, requests=1)
            await _recorded(tracing, 600, refusing, requests=2)
        with OtlpReceiver(port=port) as taking:
            await _recorded(tracing, 600, taking, requests=1)
            await tracing.stop()
    assert [line["event"] for line in said] == [LOST, "traces are delivered again"]
    lost = said[1]["spans_lost"]
    assert lost >= 1_024
    assert len(taking.spans) + lost == 1_800


async def _recorded(tracing: Tracing, count: int, receiver: OtlpReceiver, *, requests: int) -> None:
    """Record more than one batch, and wait until the receiver has been asked this often."""
    for _ in range(count):
        record(tracing, new_root(1.0))
    async with asyncio.timeout(30):
        while len(receiver.requests) < requests:
            await asyncio.sleep(0.01)


async def test_a_collector_that_says_nothing_keeps_no_process_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with socket.create_server(("127.0.0.1", 0)) as silent, structlog.testing.capture_logs() as said:
        async with traced(f"http://127.0.0.1:{silent.getsockname()[1]}") as tracing:
            record(tracing, new_root(1.0))
            began = time.monotonic()
        waited = time.monotonic() - began
    assert waited < 20  # two seconds, where the exporter alone would wait for sixty and the processor for thirty
    assert [line["event"] for line in said] == ["traces not delivered, the collector does not answer"]


async def test_the_queue_is_bounded(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "600")
    async with traced(receiver.endpoint) as tracing:
        for _ in range(20_000):  # the thread cannot keep up with a loop that does nothing else
            record(tracing, new_root(1.0))
    assert 600 <= len(receiver.spans) < 20_000


def test_without_an_endpoint_there_is_nothing() -> None:
    assert open_tracing(settings(""), "orchestrator") is None
    telemetry = open_telemetry(settings(""), "orchestrator")
    assert telemetry.tracing is None
    assert telemetry.tracing_of("edge") is None
    assert Telemetry().tracing_of("edge") is None


async def test_a_process_has_one_instance_in_traces_and_reports(receiver: OtlpReceiver) -> None:
    telemetry = open_telemetry(settings(receiver.endpoint), "conclave")
    tracing = telemetry.tracing_of("edge")
    assert tracing is not None
    record(tracing, new_root(1.0))
    await tracing.stop()
    (span,) = receiver.spans
    assert (span.service, span.resource["service.instance.id"]) == ("edge", telemetry.instance)


@pytest.mark.parametrize("value", ["collector:4317", "grpc://collector", "http://"])
def test_an_endpoint_that_is_none_is_refused_at_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", value)
    with pytest.raises(BadSettings, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        load_settings()


BUILT = """
from services.__main__ import service_names
from services.runtime.process import build_services
assert len(build_services(service_names(), settings, telemetry)) > 5
"""


@pytest.mark.parametrize(("endpoint", "more"), [("", BUILT), ("http://127.0.0.1:1", "")])
def test_a_process_that_traces_nothing_loads_no_opentelemetry(endpoint: str, more: str) -> None:
    """FastAPI and FastStream look for its interface by themselves; its SDK, exporter and protocol nobody else wants."""
    code = f"""
import sys
from services.runtime.settings import load_settings
from services.runtime.telemetry.telemetry import open_telemetry
settings = load_settings()
telemetry = open_telemetry(settings, "conclave")
{more}
heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf")
print(sorted(name for name in sys.modules if name in (*heavy, "services.runtime.telemetry.tracing_export")))
"""
    given = {"COMMUNICATION_PROTOCOL": "direct", "DATABASE_URL": "mongodb://127.0.0.1:1/none"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **given, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    loaded = found.stdout.splitlines()[-1]
    assert (loaded == "[]") is (endpoint == ""), loaded


async def test_a_long_attribute_is_cut(receiver: OtlpReceiver) -> None:
    """Agents call their errors what they like."""
    async with traced(receiver.endpoint) as tracing:
        record(tracing, new_root(1.0), **{"error.type": "x" * 100_000, "short": "y", "count": 3})
    (span,) = receiver.spans
    assert span.attributes == {"error.type": "x" * LONGEST_TEXT, "short": "y", "count": 3}
