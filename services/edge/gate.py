"""The gate that every command passes before its body is read."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.edge import problems
from services.edge.pressure import Pressure
from services.edge.problems import Problem

BODY_SECONDS: Final = 30.0
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_STATE: Final = "body_in_hand"


class Gate:
    """Lets a command in, or answers 503 at once. A body that is not here in time gives its place to others (408)."""

    def __init__(self, app: ASGIApp, *, pressure: Pressure, prefix: str, body_seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._pressure = pressure
        self._prefix = prefix
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READS or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        try:
            self._pressure.enter()
        except Problem as problem:
            answer = problems.document_of(Request(scope), problem)
            await answer(scope, receive, send)
            return
        body = _Body(receive, self._pressure, self._body_seconds)
        scope.setdefault("state", {})[_STATE] = body
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._pressure.leave(body.size)


def bytes_of(request: Request) -> int:
    """How many bytes of this request's body came through the gate so far."""
    body: _Body | None = getattr(request.state, _STATE, None)
    return 0 if body is None else body.size


class _Body:
    """A body on its way in, whose bytes are counted as they come."""

    def __init__(self, receive: Receive, pressure: Pressure, seconds: float) -> None:
        self.size = 0
        self._receive = receive
        self._pressure = pressure
        self._until = asyncio.get_running_loop().time() + seconds
        self._seconds = seconds
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise Problem("too-slow", f"the body was not here within {self._seconds:g} s") from None
        self._complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self._pressure.hold(size)
        self.size += size
        return message
