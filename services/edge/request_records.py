"""Which request was answered how: a record of each for the audit log, made when its answer begins, which for an event
stream is when it does."""

import time
from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.audit import AuditRecord, AuditResult
from contracts.envelope import new_id
from services.edge.problems import KIND_OF_PROBLEM
from services.edge.requests_served import UNKNOWN, route_of
from services.runtime.masking import masked_text

UNRECORDED: Final = frozenset({"/health", "/health/live", "/health/ready"})
QUIET: Final = frozenset({"/metrics", "/docs", "/openapi.json", "/asyncapi", "/asyncapi.json"})  # unless refused
_LONG: Final = 280  # characters

Keep = Callable[[AuditRecord], None]


class RecordRequests:
    """Middleware that gives ``keep`` a record of each request. It stands inside the one that gives correlation ids, and
    outside all that may answer. ``clock``: epoch seconds."""

    def __init__(self, app: ASGIApp, *, keep: Keep, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._keep = keep
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNRECORDED:
            await self._app(scope, receive, send)
            return
        recorded = False

        async def send_and_record(message: Message) -> None:
            nonlocal recorded
            if message["type"] == "http.response.start" and not recorded:
                recorded = True
                self._record(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        except BaseException:
            if not recorded:
                # Answered with 500 further out, or not at all; what it asked for may have been done.
                self._record(scope, 500)
            raise

    def _record(self, scope: Scope, status: int) -> None:
        if status < 400 and scope["path"] in QUIET:
            return
        self._keep(record_of(scope, status, self._clock()))


def record_of(scope: Scope, status: int, at: float) -> AuditRecord:
    """What is recorded of a request that is answered with ``status`` at ``at`` (epoch seconds)."""
    state: dict[str, Any] = scope.get("state", {})
    template, parameters = route_of(scope)
    subject = "/".join(str(value) for value in parameters.values()) if template else str(scope["path"])
    client = scope.get("client")
    return AuditRecord(
        id=f"access/{new_id()}",
        at=at,
        actor=_short(getattr(state.get("caller"), "actor", "anonymous")),
        action=_short(f"{scope['method']} {template or UNKNOWN}"),
        subject=_short(subject),
        source=_short(str(client[0])) if client else "",
        result=_result(status),
        detail=_short(f"{status} {state.get(KIND_OF_PROBLEM, '')}".rstrip()),
        correlation_id=str(state.get("correlation_id", ""))[:200],
    )


def _result(status: int) -> AuditResult:
    if status < 400:
        return AuditResult.DONE
    return AuditResult.REFUSED if status < 500 else AuditResult.FAILED


def _short(text: str) -> str:
    shown = masked_text(text[: 4 * _LONG])[:_LONG].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return shown.encode("utf-8", "replace").decode()
