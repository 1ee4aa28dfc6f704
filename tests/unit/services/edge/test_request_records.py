"""Which requests are recorded, and what is recorded of them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.audit import AuditRecord, AuditResult
from services.edge.access.caller import Caller
from services.edge.correlation import CorrelationId
from services.edge.problems import Problem, install
from services.edge.request_records import RecordRequests


class Denying:
    """Answers some requests before they come to a route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"deny" in scope["query_string"]:
            await JSONResponse({}, 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def application(keep: Any) -> FastAPI:
    router = APIRouter(prefix="/things")

    @router.get("/boom")
    async def boom() -> None:
        raise RuntimeError("unexpected")

    @router.get("/stream")
    async def stream(request: Request) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            yield str(len(request.app.state.kept))

        return StreamingResponse(events())

    @router.get("/{thing_id}")
    async def show(thing_id: str, request: Request) -> str:
        request.state.caller = Caller("key:zoe", "zoe")
        if thing_id == "none":
            raise Problem("not-found", "there is none")
        return thing_id

    @router.get("/{thing_id}/parts/{part}")
    async def part(thing_id: str, part: int) -> int:
        return part

    app = FastAPI()
    app.include_router(router, prefix="/api/v1")

    @app.get("/metrics")
    async def metrics() -> str:
        return "m"

    @app.get("/health")
    async def health() -> str:
        return "ok"

    install(app)
    app.add_middleware(Denying)
    app.add_middleware(RecordRequests, keep=keep, clock=lambda: 5.0)
    app.add_middleware(CorrelationId)
    return app


class Asked:
    def __init__(self) -> None:
        self.kept: list[AuditRecord] = []
        app = application(self.kept.append)
        app.state.kept = self.kept
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("10.1.2.3", 1))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://edge")

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.request(options.pop("method", "GET"), path, **options)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    asked = Asked()
    yield asked
    await asked.client.aclose()


async def test_who_what_from_where_and_with_what_result(asked: Asked) -> None:
    await asked.get("/api/v1/things/t1", headers={"X-Correlation-ID": "c1", "X-Forwarded-For": "6.6.6.6"})
    (one,) = asked.kept
    assert one == AuditRecord(
        id=one.id,
        at=5.0,
        actor="key:zoe",
        action="GET /api/v1/things/{thing_id}",
        subject="t1",
        source="10.1.2.3",
        result=AuditResult.DONE,
        detail="200",
        correlation_id="c1",
    )


@pytest.mark.parametrize(
    ("path", "action", "subject", "result", "detail"),
    [
        ("/api/v1/things/none", "GET /api/v1/things/{thing_id}", "none", AuditResult.REFUSED, "404 not-found"),
        ("/api/v1/things/t/parts/7", "GET /api/v1/things/{thing_id}/parts/{part}", "t/7", AuditResult.DONE, "200"),
        ("/api/v1/things/t?deny", "GET /api/v1/things/{thing_id}", "t", AuditResult.REFUSED, "401"),
        ("/api/v1/things/boom", "GET /api/v1/things/boom", "", AuditResult.FAILED, "500"),
        ("/elsewhere/token=abcdefgh", "GET (no such path)", "/elsewhere/token=***", AuditResult.REFUSED, "404"),
        ("/metrics?deny", "GET /metrics", "", AuditResult.REFUSED, "401"),
    ],
)
async def test_every_answer(
    asked: Asked, path: str, action: str, subject: str, result: AuditResult, detail: str
) -> None:
    await asked.get(path)
    (one,) = asked.kept
    assert (one.action, one.subject, one.result) == (action, subject, result)
    assert one.detail.startswith(detail)


async def test_a_wrong_method(asked: Asked) -> None:
    await asked.get("/api/v1/things/t", method="DELETE")
    assert [(one.action, one.result) for one in asked.kept] == [
        ("DELETE /api/v1/things/{thing_id}", AuditResult.REFUSED)
    ]


async def test_a_stream_is_recorded_when_it_begins(asked: Asked) -> None:
    assert (await asked.get("/api/v1/things/stream")).text == "1"
    assert len(asked.kept) == 1


@pytest.mark.parametrize("path", ["/health", "/metrics", "/openapi.json", "/docs"])
async def test_what_is_not_recorded(asked: Asked, path: str) -> None:
    assert (await asked.get(path)).status_code == 200
    assert asked.kept == []


async def test_what_a_client_writes_has_bounds(asked: Asked) -> None:
    await asked.get("/" + "%00x" * 5_000)
    (one,) = asked.kept
    assert len(one.subject) <= 300
    assert "\x00" not in one.subject
