"""Errors as RFC 9457 problem documents: every answer that is not a success has this form, whoever raised it."""

import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from contracts.execution import Refused
from services.edge import correlation
from services.edge.access.headers import add_headers
from services.runtime.bus.base import BusUnavailable
from services.runtime.store.base import BadCursor, StoreUnavailable, Unreadable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
KIND_OF_PROBLEM = "problem_kind"  # where a request's state says of which kind its answer was
RETRY_AFTER = "2"

# The kinds of problem: what stands after the last colon of ``type``, its status and its title.
KINDS: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "unauthenticated": (401, "Nobody is signed in"),
    "forbidden": (403, "Signed in, and not allowed to do this"),
    "not-found": (404, "No such thing"),
    "conflict": (409, "In conflict with what is stored"),
    "already-exists": (409, "The id is taken"),
    "limit-reached": (409, "There are as many as may be"),
    "too-slow": (408, "The body did not come in time"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body's content type is not one of those read here"),
    "invalid": (422, "The request was read and is not valid"),
    "idempotency-key-reused": (422, "The Idempotency-Key was used with another request"),
    "agent-failed": (422, "The agent could not answer"),
    "rate-limited": (429, "More was asked than is allowed in this time"),
    "unavailable": (503, "Something that this answer needs is away"),
    "overloaded": (503, "More is asked than can be done now"),
    "no-reply": (504, "The agent did not answer in time"),
}

_REFUSALS = {
    "invalid": "invalid",
    "not_found": "not-found",
    "conflict": "conflict",
    "already_exists": "already-exists",
    "limit_reached": "limit-reached",
    "unavailable": "unavailable",
    "overloaded": "overloaded",
}


class Problem(Exception):
    """An answer that is not a success. ``errors`` are ``{"path", "code", "message"}``, one for each fault; other
    ``members`` stand in the document as they are. ``retry_after``: whole seconds, for those that are 429 or 503. The
    ``headers`` are the answer's."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Iterable[Mapping[str, Any]] = (),
        members: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self._headers = dict(headers or {})
        self.retry_after = retry_after
        self.kind = kind
        self.status, self.title = KINDS[kind]
        self.detail = detail
        self.members: dict[str, Any] = dict(members or {})
        listed = list(errors)
        if listed:
            self.members["errors"] = listed

    def below(self, part: str) -> "Problem":
        """The same with the path of each fault below ``part`` of the request."""
        listed = [{**error, "path": f"{part}.{error['path']}"} for error in self.members.get("errors", ())]
        return Problem(self.kind, self.detail, errors=listed, members=self.members, retry_after=self.retry_after)

    @property
    def headers(self) -> dict[str, str]:
        if self.status not in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            return self._headers
        seconds = RETRY_AFTER if self.retry_after is None else str(self.retry_after)
        return {**self._headers, "Retry-After": seconds}


def refused(answer: Refused) -> Problem:
    """The problem that a refusal is, with every fault."""
    faults = [fault.model_dump() for fault in answer.faults]
    seconds = None if answer.retry_after is None else math.ceil(answer.retry_after)
    return Problem(_REFUSALS[answer.code], answer.message, errors=faults, retry_after=seconds)


def unavailable(what: str, **members: Any) -> Problem:
    return Problem("unavailable", what, members=members)


def invalid(error: ValidationError | RequestValidationError, *, below: str = "") -> Problem:
    """The problem that a failed validation is; ``below`` is put in front of each path."""
    faults = [
        {
            "path": _path((below, *fault["loc"]) if below else fault["loc"]),
            "code": fault["type"],
            "message": fault["msg"],
        }
        for fault in error.errors()
    ]
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return Problem("invalid", f"{count}: {faults[0]['path']}: {faults[0]['message']}", errors=faults)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(BadCursor, _bad_cursor)
    app.add_exception_handler(StoreUnavailable, _store_unavailable)
    app.add_exception_handler(Unreadable, _unreadable)
    app.add_exception_handler(BusUnavailable, _bus_unavailable)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def _path(location: Iterable[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def document_of(request: Request, problem: Problem) -> Response:
    """The answer that a problem is, where no handler is there to make it."""
    return _document(
        request,
        f"urn:conclave:problem:{problem.kind}",
        problem.title,
        problem.status,
        problem.detail,
        problem.members,
        problem.headers,
    )


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return document_of(request, error)


async def _http(request: Request, error: Exception) -> Response:
    """What the framework raises: unknown paths, wrong methods."""
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = {
        404: f"nothing is served at {request.url.path}",
        405: f"{request.method} is not served at {request.url.path}",
    }.get(error.status_code, error.detail)
    return _document(request, "about:blank", title, error.status_code, detail, {}, error.headers)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _problem(request, invalid(error))


async def _bad_cursor(request: Request, error: Exception) -> Response:
    fault = {"path": "query.after", "code": "bad_cursor", "message": str(error)}
    return await _problem(request, Problem("malformed", str(error), errors=[fault]))


async def _store_unavailable(request: Request, error: Exception) -> Response:
    # Where the store stands and how it is reached is for the log, not for clients.
    log.warning("store unavailable", path=request.url.path, error=str(error))
    return await _problem(request, unavailable("the store is away, or does not answer in time"))


async def _unreadable(request: Request, error: Exception) -> Response:
    """A key of encryption is missing, or what is stored is not encrypted although it must be; the words name no more
    than the value and the key."""
    log.error("stored value unreadable", path=request.url.path, error=str(error))
    return await _problem(request, unavailable(f"what is stored cannot be read: {error}"))


async def _bus_unavailable(request: Request, error: Exception) -> Response:
    log.warning("broker unavailable", path=request.url.path, error=str(error))
    return await _problem(request, unavailable("the message broker is away"))


async def _gone(request: Request, error: Exception) -> Response:
    """The client went away while it sent its body; nobody reads this."""
    return await _problem(request, Problem("malformed", "the body ended too early"))


async def _unexpected(request: Request, error: Exception) -> Response:
    """Met outside every middleware, so what they add is added by hand; the server logs the traceback."""
    correlation_id = getattr(request.state, "correlation_id", "")
    log.error("unexpected error", path=request.url.path, error=repr(error), correlation_id=correlation_id)
    detail = "an unexpected error; the log has it under this correlation_id"
    headers = {correlation.HEADER: correlation_id}
    answer = _document(request, "about:blank", "Internal Server Error", 500, detail, {}, headers)
    add_headers(answer.headers, request.scope, 500)
    return answer


def _document(
    request: Request,
    kind: str,
    title: str,
    status: int,
    detail: str,
    members: Mapping[str, Any],
    headers: Mapping[str, str] | None,
) -> Response:
    request.scope.setdefault("state", {})[KIND_OF_PROBLEM] = kind.rpartition(":")[2] if kind != "about:blank" else title
    document = {
        "type": kind,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "correlation_id": getattr(request.state, "correlation_id", ""),
        **members,
    }
    return JSONResponse(document, status, dict(headers or {}), media_type=MEDIA_TYPE)
