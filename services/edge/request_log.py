"""One log line for each request, when its answer has ended: which route, how it was answered, how long that took, and
for whom."""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from services.edge.requests_served import ASKED_BY_MACHINES, UNKNOWN, NotedAnswer, route_of

log = structlog.get_logger(__name__)

_ABOUT: Final = ("execution_id", "agent_id")


class LogRequests:
    """Middleware. It stands inside the one that gives correlation ids, and outside all that may answer. ``clock``:
    seconds, of any beginning."""

    def __init__(self, app: ASGIApp, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answer = self._clock(), NotedAnswer(send)
        try:
            await self._app(scope, receive, answer)
        finally:
            _say(scope, answer.status, self._clock() - began)


def _say(scope: Scope, status: int, seconds: float) -> None:
    route, parameters = route_of(scope)
    state: dict[str, Any] = scope.get("state", {})
    say = log.debug if scope["path"].startswith(ASKED_BY_MACHINES) else log.info
    say(
        "request",
        method=scope["method"],
        route=route or UNKNOWN,
        status=status,
        seconds=round(seconds, 6),
        actor=getattr(state.get("caller"), "actor", "anonymous"),
        **{name: str(parameters[name]) for name in _ABOUT if name in parameters},
    )
