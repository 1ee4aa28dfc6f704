"""A collector: an HTTP server that takes OTLP traces and reads them with OpenTelemetry's own protocol buffers."""

import contextlib
import gzip
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATIENCE = 30.0


@dataclass(frozen=True)
class ReceivedSpan:
    """Ids in hexadecimal, the parent's empty where there is none; times in epoch nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    failed: bool
    error: str
    service: str
    attributes: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)

    @property
    def kind_and_name(self) -> tuple[str, str]:
        return self.kind, self.name

    def covers(self, other: "ReceivedSpan") -> bool:
        """Whether the other span lies within this one's time."""
        return self.start <= other.start and other.end <= self.end


class OtlpReceiver:
    """Listens on a port of its own from the beginning of its block to the end.

    Args:
        status: what it answers with; anything but 200 keeps no spans.
        port: 0 for any free one.
    """

    def __init__(self, status: int = 200, port: int = 0) -> None:
        self.status = status
        self.requests: list[dict[str, str]] = []  # their headers, by lower-case name, and their ":path"
        self._spans: list[ReceivedSpan] = []
        self._connections: list[socket.socket] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "OtlpReceiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self._connections:  # kept alive, they would be served for ever
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def spans(self) -> list[ReceivedSpan]:
        with self._changed:
            return list(self._spans)

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def until(self, reached: Callable[["OtlpReceiver"], Any], patience: float = PATIENCE) -> None:
        """Wait for spans until this is true. Not for the thread of an event loop that makes them.

        Raises:
            AssertionError: it never was; says what came.
        """
        deadline = time.monotonic() + patience
        with self._changed:
            while not reached(self):
                if not self._changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    counted = Counter(f"{span.service}: {span.kind} {span.name}" for span in self._spans)
                    raise AssertionError(f"these spans came, and no others: {dict(counted)}")

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = b""
                if receiver.status == 200:
                    answer = ExportTraceServiceResponse().SerializeToString()
                receiver._take(self.path, {name.lower(): text for name, text in self.headers.items()}, body)
                self.send_response(receiver.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing: tests say what went wrong."""

        return Handler

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        with self._changed:
            self.requests.append({**headers, ":path": path})
            if self.status == 200 and path == "/v1/traces":
                self._spans += read_spans(body)
            self._changed.notify_all()


def read_spans(body: bytes) -> list[ReceivedSpan]:
    """What one request of OTLP has in it."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, _values(of_resource.resource.attributes))
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _span(span: Span, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        error=span.status.message,
        service=resource["service.name"],
        attributes=_values(span.attributes),
        resource=resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one) for one in attributes}


def _value(one: KeyValue) -> Any:
    return getattr(one.value, one.value.WhichOneof("value") or "string_value")
