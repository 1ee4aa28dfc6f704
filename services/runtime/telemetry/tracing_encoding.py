"""Spans as OTLP has them on the wire: protocol buffers.

What OpenTelemetry's exporter does by itself, at a fraction of its time (docs/tracing.md). That matters: its thread
and the work in hand share one interpreter. A span is encoded when it is recorded, so that bytes wait and no objects:
what it has in common with others once for all of them, its own attributes once each as long as they are remembered, the
rest field by field, as ``opentelemetry/proto/trace/v1/trace.proto`` numbers them. A test holds what comes of it against
OpenTelemetry's own.
"""

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from types import SimpleNamespace
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, SpanFlags
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope as Scope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.runtime.telemetry.span_sorts import Attributes, AttributeValue, Sort
from services.runtime.telemetry.trace_context import TraceContext

REMEMBERED: Final = 4_096  # attributes
SCOPE: Final = "conclave"

# A field begins with its number and its type: 0 a varint, 1 eight bytes, 2 a length and that many bytes, 5 four bytes.
_RESOURCE_SPANS: Final = bytes([1 << 3 | 2])
_SCOPE_SPANS = _SPANS = bytes([2 << 3 | 2])
_NAME: Final = bytes([5 << 3 | 2])
_KIND: Final = bytes([6 << 3 | 0])
_ATTRIBUTE: Final = bytes([9 << 3 | 2])
_KEY = _STRING = bytes([1 << 3 | 2])
_VALUE: Final = bytes([2 << 3 | 2])
_STATUS: Final = bytes([15 << 3 | 2])
_FLAGS: Final = bytes([0x85, 1])  # 16 << 3 | 5, in two bytes

# Each number with the field and, of bytes, the length that stand before it.
_IDS: Final = Struct(">H16sHQ")
_TRACE_ID, _SPAN_ID = (1 << 3 | 2) << 8 | 16, (2 << 3 | 2) << 8 | 8
_PARENT: Final = Struct(">HQ")
_PARENT_SPAN_ID: Final = (4 << 3 | 2) << 8 | 8
_TIMES: Final = Struct("<BQBQ")
_BEGIN, _END = 7 << 3 | 1, 8 << 3 | 1

_KNOWN = int(SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
_REMOTE = int(SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
_NO_ERROR: Final = _STATUS + b"\0"
_FIRST: Final = _FLAGS + _KNOWN.to_bytes(4, "little")
_UNDER_ANOTHER: Final = _FLAGS + (_KNOWN | _REMOTE).to_bytes(4, "little")

_MOST_INT: Final = 2**63
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class EncodedSpan:
    """What waits to be delivered: a ``ScopeSpans`` with nothing but this span, and whose it is."""

    __slots__ = ("encoded", "resource")

    # All that OpenTelemetry's processor asks of a span is ``context.trace_flags.sampled``, of each one; those that are
    # not sampled never get here.
    context = SimpleNamespace(trace_flags=SimpleNamespace(sampled=True))

    def __init__(self, resource: Resource, encoded: bytes) -> None:
        self.resource = resource
        self.encoded = encoded


class Encoder:
    def __init__(self) -> None:
        # Typed: 1, 1.0 and True are equal and not the same.
        self._attribute = lru_cache(REMEMBERED, typed=True)(_attribute)

    def span(
        self,
        sort: Sort,
        context: TraceContext,
        parent: TraceContext | None,
        start: float,
        end: float,
        attributes: Attributes,
        error: str,
    ) -> bytes:
        """A ``ScopeSpans`` with this one: those of several spans, one behind the other, are read as one with all."""
        common = sort.encoded
        if common is None:
            common = sort.encoded = self._common(sort)
        attribute = self._attribute
        content = b"".join(
            (
                _IDS.pack(_TRACE_ID, context.trace_id.to_bytes(16), _SPAN_ID, context.span_id),
                b"" if parent is None else _PARENT.pack(_PARENT_SPAN_ID, parent.span_id),
                _TIMES.pack(_BEGIN, int(start * 1e9), _END, int(end * 1e9)),
                common,
                *[attribute(key, value) for key, value in attributes.items()],
                _error(error) if error else _NO_ERROR,
                _FIRST if parent is None else _UNDER_ANOTHER,
            )
        )
        return _field(_SPANS, content)

    def _common(self, sort: Sort) -> bytes:
        name = _field(_NAME, _text(sort.name).encode())
        attributes = (self._attribute(key, value) for key, value in sort.attributes.items())
        return b"".join((name, _KIND, bytes([sort.kind + 1]), *attributes))


def request(spans: Iterable[EncodedSpan]) -> bytes:
    """One request with all of them, by the service that they are of."""
    # By identity: a resource is hashed by its whole content, and each is made only once.
    groups: dict[int, tuple[Resource, list[bytes]]] = {}
    for span in spans:
        group = groups.get(id(span.resource))
        if group is None:
            group = groups[id(span.resource)] = (span.resource, [])
        group[1].append(span.encoded)
    return b"".join(_field(_RESOURCE_SPANS, _group(resource, some)) for resource, some in groups.values())


def readable(span: EncodedSpan) -> ReadableSpan:
    """The span as OpenTelemetry has it."""
    (read,) = ScopeSpans.FromString(span.encoded).spans
    trace_id, error = int.from_bytes(read.trace_id), read.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    parent = int.from_bytes(read.parent_span_id)
    return ReadableSpan(
        read.name,
        SpanContext(trace_id, int.from_bytes(read.span_id), is_remote=False, trace_flags=_SAMPLED),
        SpanContext(trace_id, parent, is_remote=True, trace_flags=_SAMPLED) if parent else None,
        span.resource,
        {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in read.attributes},
        kind=SpanKind(read.kind - 1),
        status=Status(StatusCode.ERROR, read.status.message) if error else Status(),
        start_time=read.start_time_unix_nano,
        end_time=read.end_time_unix_nano,
        instrumentation_scope=Scope(SCOPE),
    )


def _group(resource: Resource, spans: list[bytes]) -> bytes:
    """A ``ResourceSpans``. What is made of two messages, one behind the other, is read as both in one."""
    found = resource.attributes.items()
    attributes = [_key_value(key, value) for key, value in found if isinstance(value, str | int | float | bool)]
    around = ResourceSpans(resource=ResourceMessage(attributes=attributes), schema_url=resource.schema_url)
    scope = ScopeSpans(scope=InstrumentationScope(name=SCOPE))
    begin: bytes = around.SerializeToString()
    return begin + _field(_SCOPE_SPANS, scope.SerializeToString() + b"".join(spans))


def _attribute(key: str, value: AttributeValue) -> bytes:
    if isinstance(value, str):  # most are, and by hand it takes half as long
        text = _field(_VALUE, _field(_STRING, _text(value).encode()))
        return _field(_ATTRIBUTE, _field(_KEY, key.encode()) + text)
    return _field(_ATTRIBUTE, _key_value(key, value).SerializeToString())


def _error(error: str) -> bytes:
    status = trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=_text(error))
    return _field(_STATUS, status.SerializeToString())


def _key_value(key: str, value: AttributeValue) -> KeyValue:
    match value:
        case bool():
            return KeyValue(key=key, value=AnyValue(bool_value=value))
        case int() if -_MOST_INT <= value < _MOST_INT:  # any other is a text: it would cost the whole batch
            return KeyValue(key=key, value=AnyValue(int_value=value))
        case float():
            return KeyValue(key=key, value=AnyValue(double_value=value))
        case _:
            return KeyValue(key=key, value=AnyValue(string_value=_text(str(value))))


def _field(tag: bytes, content: bytes) -> bytes:
    """A field with a length: 7 bits a byte, the lowest first, and a flag on all but the last."""
    size = len(content)
    if size < 0x80:
        return tag + bytes((size,)) + content
    if size < 0x4000:  # any span
        return tag + bytes((size & 0x7F | 0x80, size >> 7)) + content
    length = bytearray(tag)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length) + content


def _text(value: str) -> str:
    """Text that UTF-8 can have: half of a surrogate pair, from a file's name say, would cost the whole batch."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
