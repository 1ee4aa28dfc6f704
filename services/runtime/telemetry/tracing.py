"""Traces: finished spans on their way to an OpenTelemetry collector, where OTEL_EXPORTER_OTLP_ENDPOINT names one.

A span is recorded once, when it has ended and both its times are known: nothing is kept open for it, and the work it
is about may have gone through several processes (``trace_context`` says how they agree on its ids). OpenTelemetry is
imported by ``open_tracing`` alone: a process that traces nothing never loads it.
"""

from typing import Protocol

from contracts.envelope import new_id
from services.runtime.masking import masked_text
from services.runtime.settings import Settings
from services.runtime.telemetry.span_sorts import Attributes, Kind, Sort, bounded
from services.runtime.telemetry.trace_context import TraceContext, new_root

LONGEST_ERROR = 1_000  # characters


class Pipeline(Protocol):
    """What takes finished spans, from any service of the process, and delivers them in the background."""

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
    ) -> None: ...

    async def stop(self) -> None: ...


class Tracing:
    """Records the spans of one service.

    Args:
        pipeline: shared by the services of a process.
        service: its name, as traces show it.
        ratio: the share of traces that are recorded, of those that begin here.
        system: what carries the messages, as ``messaging.system`` has it.
    """

    def __init__(self, pipeline: Pipeline, service: str, *, ratio: float = 1.0, system: str = "") -> None:
        self.service = service
        self.ratio = ratio
        self.system = system
        self._pipeline = pipeline

    def of(self, service: str) -> "Tracing":
        """The same for another service of this process."""
        return Tracing(self._pipeline, service, ratio=self.ratio, system=self.system)

    def new_root(self) -> TraceContext:
        """The first span of a trace that begins here."""
        return new_root(self.ratio)

    def record(
        self,
        name: str,
        *,
        kind: Kind,
        context: TraceContext,
        parent: TraceContext | None,
        start: float,
        end: float,
        attributes: Attributes,
        error: str = "",
    ) -> None:
        """``record_one`` of a span that is like no other."""
        if context.sampled:
            self.record_one(Sort(name, kind, {}), context, parent, start, end, attributes, error)

    def record_one(
        self,
        sort: Sort,
        context: TraceContext,
        parent: TraceContext | None,
        start: float,
        end: float,
        attributes: Attributes,
        error: str = "",
    ) -> None:
        """Record a span that has ended, if its trace is recorded. Never raises and never waits: a collector that is
        away costs the spans and nothing else.

        Args:
            start, end: epoch seconds.
            attributes: its own, beside those of its sort.
            error: why it failed, empty where it did not; masked here.
        """
        if context.sampled:
            if error:
                error = masked_text(error[: 4 * LONGEST_ERROR])[:LONGEST_ERROR]
            if end < start:
                end = start
            self._pipeline.put(self.service, sort, context, parent, start, end, bounded(attributes), error)

    async def stop(self) -> None:
        """Deliver what is left, for at most about two seconds; nothing is recorded afterwards."""
        await self._pipeline.stop()


def open_tracing(settings: Settings, service: str, instance: str = "") -> Tracing | None:
    """What records the spans of this process; None where the settings name no collector.

    Args:
        service: what the process is called where a span does not say of which of its services it is.
        instance: names this process among all others; made up if empty.
    """
    if not settings.otlp_endpoint:
        return None
    from services.runtime.telemetry.tracing_export import OtlpPipeline

    pipeline = OtlpPipeline(settings.otlp_endpoint, instance or new_id())
    system = settings.communication_protocol.value
    return Tracing(pipeline, service, ratio=settings.trace_sample_ratio, system=system)
