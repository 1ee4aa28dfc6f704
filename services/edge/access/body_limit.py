"""No more of a body is taken than a body may have."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.edge.problems import Problem

_LEFT_UNREAD: Final = 64 * 1024  # bytes of an unwanted body that cost less than a new connection


class BodyLimit:
    """Refuses a body of more than ``most`` bytes (413): by what its length is said to be, before anything of it is
    taken, or else as soon as more than that has come.

    A connection whose body was not taken to its end is closed after the answer: the server would otherwise read all of
    it on the way to the next request.
    """

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(Headers(scope=scope), receive, send, self._most)
        await self._app(scope, body.receive, body.send)


class _Body:
    def __init__(self, headers: Headers, receive: Receive, send: Send, most: int) -> None:
        length = headers.get("content-length", "")
        self._declared = int(length[:18]) if length.isdecimal() else 0
        self._ended = not self._declared and "transfer-encoding" not in headers
        self._receive = receive
        self._send = send
        self._most = most
        self._taken = 0
        self._answered = False

    async def receive(self) -> Message:
        if self._is_too_large:
            return self._refuse()
        message = await self._receive()
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            if self._is_too_large:
                return self._refuse()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answered = True
            if not self._ended and (self._taken or not 0 < self._declared <= _LEFT_UNREAD):
                MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)

    @property
    def _is_too_large(self) -> bool:
        return max(self._declared, self._taken) > self._most

    def _refuse(self) -> Message:
        self._ended = False
        if self._answered:
            return {"type": "http.disconnect"}
        detail = f"a body may have {self._most} bytes at most"
        raise Problem("too-large", detail, members={"max_bytes": self._most})
