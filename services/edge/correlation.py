"""One id follows a request into its commands, its log lines and its answer."""

import re
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts import traceparent
from services.runtime.correlation import in_service, take_in_hand

HEADER: Final = "X-Correlation-ID"
_SERVICE: Final = "edge"
# What may stand in an envelope and in a log line: no spaces, no control characters, 200 at most.
_ALLOWED = re.compile(r"[!-~]{1,200}")


class CorrelationId:
    """Takes the id from ``X-Correlation-ID``, else the trace id of ``traceparent``
    (https://www.w3.org/TR/trace-context/), else a new one, and gives it back in the answer's header.

    An id that does not fit (longer than 200, not printable ASCII) is replaced rather than refused; so is a trace of
    which there are two, or none that can be read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = correlation_id_of(Headers(scope=scope))
        scope.setdefault("state", {})["correlation_id"] = correlation_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = correlation_id
            await send(message)

        # To the end of the request's task, which the server makes for it: it logs in there what comes out of here.
        in_service(_SERVICE)
        take_in_hand(correlation_id=correlation_id)
        await self._app(scope, receive, send_with_id)


def correlation_id_of(headers: Headers) -> str:
    """What a request with these headers is called."""
    given = headers.get(HEADER, "")
    if _ALLOWED.fullmatch(given):
        return given
    trace = traceparent_of(headers)
    return trace.split("-")[1] if trace else uuid.uuid4().hex


def traceparent_of(headers: Headers) -> str:
    """The client's, normalized; of two, which is wrong of it, none."""
    given = headers.getlist(traceparent.HEADER)
    return traceparent.normalized(given[0]) if len(given) == 1 else ""
