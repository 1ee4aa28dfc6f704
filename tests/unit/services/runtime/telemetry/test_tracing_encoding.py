"""Our encoder says, byte for byte, what OpenTelemetry's does."""

from dataclasses import dataclass

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.runtime.telemetry.span_sorts import AttributeValue, Kind, Sort
from services.runtime.telemetry.trace_context import TraceContext
from services.runtime.telemetry.tracing_encoding import SCOPE, EncodedSpan, Encoder, readable, request
from tests.support.otlp_receiver import read_spans

RESOURCE = Resource({"service.name": "orchestrator", "service.version": "1", "weight": 2, "hot": True})
OTHER = Resource({"service.name": "edge"}, "https://example.org/schema")
BEGAN, ENDED = 1_700_000_000.25, 1_700_000_001.5
CONTEXT, PARENT = TraceContext(2**127 + 5, 7, True), TraceContext(2**127 + 5, 2**63 + 1, True)


@dataclass(frozen=True)
class Span:
    """A span as it is recorded, half of its attributes by its sort."""

    name: str
    kind: Kind
    parent: TraceContext | None
    error: str
    resource: Resource
    attributes: dict[str, AttributeValue]

    def encoded(self, encoder: Encoder) -> EncodedSpan:
        attributes = list(self.attributes.items())
        sort = Sort(self.name, self.kind, dict(attributes[::2]))
        own = dict(attributes[1::2])
        return EncodedSpan(self.resource, encoder.span(sort, CONTEXT, self.parent, BEGAN, ENDED, own, self.error))

    def theirs(self) -> ReadableSpan:
        flags, parent = TraceFlags(TraceFlags.SAMPLED), self.parent
        return ReadableSpan(
            self.name,
            SpanContext(CONTEXT.trace_id, CONTEXT.span_id, is_remote=False, trace_flags=flags),
            parent and SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags),
            self.resource,
            self.attributes,
            kind=SpanKind(self.kind),
            status=Status(StatusCode.ERROR, self.error) if self.error else Status(),
            start_time=int(BEGAN * 1e9),
            end_time=int(ENDED * 1e9),
            instrumentation_scope=InstrumentationScope(SCOPE),
        )


def encoded(*spans: Span) -> bytes:
    encoder = Encoder()
    return request([span.encoded(encoder) for span in spans])


def span(
    name: str = "work",
    kind: Kind = Kind.INTERNAL,
    parent: TraceContext | None = PARENT,
    error: str = "",
    resource: Resource = RESOURCE,
    **attributes: AttributeValue,
) -> Span:
    return Span(name, kind, parent, error, resource, attributes)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind(kind: Kind) -> None:
    _assert_the_same(span(kind=kind))


def test_a_first_span_and_one_under_another() -> None:
    _assert_the_same(span(parent=None), span())


def test_values_that_are_equal_and_not_the_same() -> None:
    """An attribute is made once for each value: 1, 1.0 and True are three."""
    spans = [span(value=1), span(value=True), span(value=1.0), span(value="1"), span(value=0), span(value=False)]
    _assert_the_same(*spans, *spans)
    read = read_spans(encoded(*spans))
    assert [repr(one.attributes["value"]) for one in read] == ["1", "True", "1.0", "'1'", "0", "False"]


def test_errors_and_texts_beyond_ascii() -> None:
    _assert_the_same(span(error="Timeout: zu spät"), span(name="schön", text="\N{SNOWMAN}", none="", large=2**62))


def test_spans_of_several_services() -> None:
    _assert_the_same(span("a"), span("b", resource=OTHER), span("c"), span("d", resource=OTHER))


def test_half_a_surrogate_pair_costs_its_character_and_not_the_batch() -> None:
    (read,) = read_spans(encoded(span(error="no \udc80 here", text="a\ud800b", other="\udc80")))
    assert (read.error, read.attributes) == ("no ? here", {"text": "a?b", "other": "?"})


def test_more_attributes_than_are_remembered() -> None:
    encoder = Encoder()
    for start in range(0, 10_000, 500):
        made = [span(first="", value=i).encoded(encoder) for i in range(start, start + 500)]
        read = read_spans(request(made))
        assert [one.attributes["value"] for one in read] == list(range(start, start + 500))


def test_a_sort_is_encoded_once_and_stands_for_all_its_spans() -> None:
    encoder, sort = Encoder(), Sort("work", Kind.CLIENT, {"common": "x" * 200})
    made = [encoder.span(sort, CONTEXT, PARENT, BEGAN, ENDED, {"own": i}, "") for i in range(3)]
    before = sort.encoded
    assert before is not None
    read = read_spans(request([EncodedSpan(RESOURCE, one) for one in made]))
    assert [one.attributes for one in read] == [{"common": "x" * 200, "own": i} for i in range(3)]
    encoder.span(sort, CONTEXT, PARENT, BEGAN, ENDED, {}, "")
    assert sort.encoded is before


def _assert_the_same(*spans: Span) -> None:
    """What we say is what OpenTelemetry says of the same spans, and of those that it is given where it has to encode
    them by itself."""
    encoder = Encoder()
    made = [one.encoded(encoder) for one in spans]
    ours, theirs = ExportTraceServiceRequest.FromString(request(made)), encode_spans([one.theirs() for one in spans])
    for each in (*_spans(ours), *_spans(theirs)):
        each.attributes.sort(key=lambda attribute: attribute.key)
    assert ours == theirs
    assert len(ours.resource_spans) == len({id(one.resource) for one in spans})
    again = encode_spans([readable(one) for one in made])
    for each in _spans(again):
        each.attributes.sort(key=lambda attribute: attribute.key)
    assert again == theirs


def _spans(request: ExportTraceServiceRequest) -> list[ProtoSpan]:
    return [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]


def test_a_number_that_does_not_fit_is_a_text() -> None:
    """Anybody may say how often a message was tried."""
    spans = [span(least=-(2**63), most=2**63 - 1), span(large=2**64, small=-(2**63) - 1)]
    fits, other = read_spans(encoded(*spans))
    assert (fits.attributes["least"], fits.attributes["most"]) == (-(2**63), 2**63 - 1)
    assert (other.attributes["large"], other.attributes["small"]) == (str(2**64), str(-(2**63) - 1))
