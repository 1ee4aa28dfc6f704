"""The span of a request: the first of its trace, or under the client's own where the client brings one.

Names and attributes as OpenTelemetry has them for HTTP servers, but for the query, which is the client's own data.
"""

import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.edge.correlation import traceparent_of
from services.edge.requests_served import ASKED_BY_MACHINES, NotedAnswer, route_of
from services.runtime.masking import masked_text
from services.runtime.telemetry.span_sorts import AttributeValue, Kind
from services.runtime.telemetry.trace_context import TraceContext, carry, child_of, read
from services.runtime.telemetry.tracing import Tracing

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_LONG: Final = 280  # characters


class TraceRequests:
    """Middleware. It stands inside the one that gives correlation ids, and outside all that may answer; what a request
    sends is sent under its span. ``tracing``: None where nothing is traced; what is sent then goes on under the
    client's. ``clock``: epoch seconds."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing | None, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._tracing = tracing
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(ASKED_BY_MACHINES):
            await self._app(scope, receive, send)
            return
        came = traceparent_of(Headers(scope=scope))
        if self._tracing is None:
            # To the end of the request's task, which the server makes for it.
            carry(came)
            await self._app(scope, receive, send)
            return
        parent = read(came)
        context = self._tracing.new_root() if parent is None else child_of(parent)
        carry(context)
        if not context.sampled:
            await self._app(scope, receive, send)
            return
        await self._traced(self._tracing, context, parent, scope, receive, send)

    async def _traced(
        self,
        tracing: Tracing,
        context: TraceContext,
        parent: TraceContext | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        began, answer = self._clock(), NotedAnswer(send)
        try:
            await self._app(scope, receive, answer)
        finally:
            status = answer.status
            route, _ = route_of(scope)
            method = scope["method"] if scope["method"] in _METHODS else "HTTP"
            tracing.record(
                f"{method} {route}".rstrip(),
                kind=Kind.SERVER,
                context=context,
                parent=parent,
                start=began,
                end=self._clock(),
                attributes=_attributes(scope, route, status),
                error=f"answered with {status}" if status >= 500 else "",
            )


def _attributes(scope: Scope, route: str, status: int) -> dict[str, AttributeValue]:
    method = scope["method"]
    attributes: dict[str, AttributeValue] = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "http.response.status_code": status,
        "url.path": masked_text(scope["path"][:_LONG]),
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
        "conclave.correlation.id": str(scope.get("state", {}).get("correlation_id", "")),
    }
    if route:
        attributes["http.route"] = route
    if server := scope.get("server"):
        attributes["server.address"] = str(server[0])
        if server[1] is not None:
            attributes["server.port"] = server[1]
    if client := scope.get("client"):
        attributes["client.address"] = str(client[0])
    if agent := Headers(scope=scope).get("user-agent"):
        attributes["user_agent.original"] = masked_text(agent[:_LONG])
    if status >= 500:
        attributes["error.type"] = str(status)
    return attributes
