"""Headers that tell browsers what not to do with an answer."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.edge.access.caller import ANONYMOUS

POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TRANSPORT: Final = "max-age=31536000; includeSubDomains"

_INLINE_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_SOURCE: Final = re.compile(r"""<(?:script|link)\b[^>]*\b(?:src|href)="(https://[^"]+)\"""")


class SecurityHeaders:
    """Adds them to every answer. What an answer to somebody known says is stored nowhere on its way."""

    def __init__(self, app: ASGIApp, *, cross_origin: bool = False) -> None:
        self._app = app
        self._cross_origin = cross_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(MutableHeaders(scope=message), scope, message["status"], cross_origin=self._cross_origin)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def add_headers(headers: MutableHeaders, scope: Scope, status: int, *, cross_origin: bool = False) -> None:
    """``cross_origin``: pages of other origins may read what CORS lets them read."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if cross_origin:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    headers.setdefault("Content-Security-Policy", POLICY)
    if status >= 400 or scope.get("state", {}).get("caller", ANONYMOUS) is not ANONYMOUS:
        headers["Cache-Control"] = "no-store"
    if scope["scheme"] == "https":
        headers.setdefault("Strict-Transport-Security", TRANSPORT)


def page(html: str, *, compiles: bool = False) -> HTMLResponse:
    """A page of documentation: its own scripts run, and those of the hosts that it names, and nothing else.
    ``compiles``: its scripts make functions out of text."""
    hosts = sorted({f"https://{urlsplit(source).netloc}" for source in _SOURCE.findall(html)})
    own = [_digest(script) for script in _INLINE_SCRIPT.findall(html)]
    eval_too = ["'unsafe-eval'"] if compiles else []
    policy = "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src", *hosts, *own, *eval_too]),
            " ".join(["style-src", "'unsafe-inline'", *hosts]),
            " ".join(["font-src", "data:", *hosts]),
            "img-src data:",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
