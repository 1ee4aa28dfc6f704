"""What a request is called, and the one line that the log has of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import StreamingResponse

from services.edge.access.caller import Caller
from services.edge.correlation import CorrelationId, correlation_id_of
from services.edge.request_log import LogRequests
from services.runtime.correlation import add_to_hand
from tests.support.log_capture import captured_lines

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("x-correlation-id", "given"), ("traceparent", TRACEPARENT)], "given"),
        ([("traceparent", TRACEPARENT)], TRACE),
        ([("traceparent", TRACEPARENT[:-2] + "00")], TRACE),
        ([("traceparent", f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later")], TRACE),
        ([("x-correlation-id", "has space"), ("traceparent", TRACEPARENT)], TRACE),
        ([("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)], None),
        ([("traceparent", f"{TRACEPARENT}-more")], None),
        ([("traceparent", f"ff-{TRACE}-00f067aa0ba902b7-01")], None),
        ([("traceparent", f"00-{TRACE.upper()}-00f067aa0ba902b7-01")], None),
        ([("traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01")], None),
        ([("traceparent", f"00-{TRACE}-{'0' * 16}-01")], None),
        ([("traceparent", "")], None),
        ([("x-correlation-id", "x" * 201)], None),
        ([], None),
    ],
)
def test_what_a_request_is_called(headers: list[tuple[str, str]], expected: str | None) -> None:
    found = correlation_id_of(Headers(raw=[(name.encode(), value.encode()) for name, value in headers]))
    if expected is None:
        assert len(found) == 32
        assert found != TRACE
        assert found.isalnum()
    else:
        assert found == expected


def application() -> FastAPI:
    app = FastAPI()
    log = structlog.get_logger("test")

    @app.get("/health/live")
    async def live() -> str:
        return "ok"

    @app.get("/metrics")
    async def metrics() -> str:
        return "m"

    @app.get("/executions/{execution_id}")
    async def show(execution_id: str, request: Request) -> str:
        request.state.caller = Caller("key:zoe", "zoe")
        log.info("looked up", execution=execution_id)
        return execution_id

    @app.post("/executions", status_code=202)
    async def start() -> str:
        add_to_hand(execution_id="e-new")
        return "e-new"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            await asyncio.sleep(0)
            log.info("told")
            yield "x"

        return StreamingResponse(events())

    @app.get("/boom")
    async def boom() -> None:
        raise LookupError("unexpected")

    ticks = iter(range(1_000))
    app.add_middleware(LogRequests, clock=lambda: next(ticks) * 0.5)
    app.add_middleware(CorrelationId)
    return app


async def lines_of(*requests: tuple[str, str], level: str = "INFO") -> list[dict[str, Any]]:
    """The lines of requests that are called r0, r1 and so on."""
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    with captured_lines(level=level) as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            for number, (method, path) in enumerate(requests):
                # A task for each, as a server has it.
                headers = {"X-Correlation-ID": f"r{number}"}
                await asyncio.create_task(client.request(method, path, headers=headers))
    return [line for line in lines if line.get("logger", "").partition(".")[0] not in ("httpx", "httpcore", "asyncio")]


def said(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("timestamp", "level", "service", "event")}


async def test_each_request_has_one_line_when_its_answer_has_ended() -> None:
    lines = await lines_of(("GET", "/executions/e1?secret=1"), ("POST", "/executions"), ("GET", "/stream"))
    assert [line["event"] for line in lines] == ["looked up", "request", "request", "told", "request"]
    assert {line["service"] for line in lines} == {"edge"}
    assert [line["correlation_id"] for line in lines] == ["r0", "r0", "r1", "r2", "r2"]
    assert said(lines[1]) == {
        "correlation_id": "r0",
        "method": "GET",
        "route": "/executions/{execution_id}",
        "status": 200,
        "seconds": 0.5,
        "actor": "key:zoe",
        "execution_id": "e1",
    }
    started = said(lines[2])
    assert (started["execution_id"], started["status"], started["actor"]) == ("e-new", 202, "anonymous")


async def test_what_is_not_served_and_what_fails_has_a_line_too() -> None:
    unknown, wrong, boom = await lines_of(("GET", "/none/of/this"), ("DELETE", "/stream"), ("GET", "/boom"))
    assert (unknown["route"], unknown["status"]) == ("(no such path)", 404)
    assert (wrong["route"], wrong["status"]) == ("/stream", 405)
    assert (boom["route"], boom["status"], boom["correlation_id"]) == ("/boom", 500, "r2")


async def test_what_machines_ask_all_the_time_is_for_debugging() -> None:
    asked = [("GET", "/health/live"), ("GET", "/metrics")]
    assert await lines_of(*asked) == []
    lines = await lines_of(*asked, level="DEBUG")
    assert [(line["level"], line["route"]) for line in lines] == [("debug", "/health/live"), ("debug", "/metrics")]
