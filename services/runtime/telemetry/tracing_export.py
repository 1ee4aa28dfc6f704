"""The pipeline of finished spans: OpenTelemetry's batch processor and its OTLP exporter over HTTP.

Importing this imports OpenTelemetry: ``tracing.open_tracing`` does, in a process that traces.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from services.runtime.telemetry.span_sorts import Attributes, Sort
from services.runtime.telemetry.trace_context import TraceContext
from services.runtime.telemetry.tracing_encoding import EncodedSpan, Encoder, readable, request
from services.runtime.version import own_version

log = structlog.get_logger(__name__)

NAMESPACE: Final = "conclave"
# Unless the SDK's own settings say otherwise. A request costs as much as the encoding of hundreds of spans.
WAITING: Final = 16_384  # spans
AT_ONCE: Final = 2_048
FLUSH_SECONDS: Final = 1.5
_GRACE: Final = 0.5


class OtlpPipeline:
    """Spans wait in a bounded queue and leave in batches, from a thread. Where the collector does not take them they
    are lost, which is said once, and once more when it takes some again.

    Args:
        endpoint: the collector's base URL.
        instance: ``service.instance.id`` of whatever comes from here.
    """

    def __init__(self, endpoint: str, instance: str) -> None:
        # What the libraries say of a collector that is away, again and again, is said here, once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._instance = instance
        self._resources: dict[str, Resource] = {}
        self._encoder = Encoder()
        self._exporter = _Exporter(f"{endpoint.rstrip('/')}/v1/traces")
        own = not any(os.environ.get(name) for name in (OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE))
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=WAITING if own else None,
            max_export_batch_size=AT_ONCE if own else None,
        )

    def put(
        self,
        service: str,
        sort: Sort,
        context: TraceContext,
        parent: TraceContext | None,
        start: float,
        end: float,
        attributes: Attributes,
        error: str,
    ) -> None:
        resource = self._resources.get(service) or self._resource(service)
        encoded = self._encoder.span(sort, context, parent, start, end, attributes, error)
        self._processor.on_end(EncodedSpan(resource, encoded))  # type: ignore[arg-type]  # it asks for no more

    def _resource(self, service: str) -> Resource:
        """Beside OTEL_RESOURCE_ATTRIBUTES, which the SDK reads."""
        attributes = {
            "service.name": service,
            "service.namespace": NAMESPACE,
            "service.instance.id": self._instance,
            "service.version": own_version(),
        }
        self._resources[service] = Resource.create(attributes)
        return self._resources[service]

    async def stop(self) -> None:
        """In a thread of its own, which is left behind if it hangs: a collector that takes a connection and no bytes
        must not keep a process from ending."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def shut_down() -> None:
            # The processor would wait for half a minute, while the exporter tries again.
            hurry = threading.Timer(FLUSH_SECONDS, self._exporter.shutdown)
            hurry.daemon = True
            hurry.start()
            try:
                self._processor.shutdown()  # type: ignore[no-untyped-call]
            finally:
                hurry.cancel()
                with contextlib.suppress(RuntimeError):  # nobody waits any more
                    loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="end of traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS + _GRACE):
                await ended.wait()
        except TimeoutError:
            log.warning("traces not delivered, the collector does not answer", endpoint=self._exporter.endpoint)


class _Exporter(OTLPSpanExporter):
    """OpenTelemetry's, of spans that are encoded already."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint=endpoint)
        self.endpoint = endpoint
        self._lost = 0

    def export(self, spans: Sequence[EncodedSpan]) -> SpanExportResult:  # type: ignore[override]
        result = self._deliver(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("traces are delivered again", endpoint=self.endpoint, spans_lost=self._lost)
            self._lost = 0
        else:
            if not self._lost:
                log.warning("traces cannot be delivered and are lost", endpoint=self.endpoint)
            self._lost += len(spans)
        return result

    def _deliver(self, spans: Sequence[EncodedSpan]) -> SpanExportResult:
        # Not a part of its interface: where another version has none, the exporter encodes the spans by itself.
        client = getattr(self, "_client", None)
        if client is None:
            return super().export([readable(span) for span in spans])
        sent = client.export(request(spans))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE
