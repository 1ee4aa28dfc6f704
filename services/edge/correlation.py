"""One id follows a request into its commands, its log lines and its answer."""

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Correlation-ID"
# What may stand in an envelope and in a log line: no spaces, no control characters, 200 at most.
_ALLOWED = re.compile(r"[!-~]{1,200}")


class CorrelationId:
    """Takes the id from ``X-Correlation-ID``, or makes one, and gives it back in the answer's header.

    An id that does not fit (longer than 200, not printable ASCII) is replaced rather than refused.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        correlation_id = given if _ALLOWED.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["correlation_id"] = correlation_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = correlation_id
            await send(message)

        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            await self._app(scope, receive, send_with_id)
