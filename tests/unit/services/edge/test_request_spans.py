"""The span of a request, by a small application and a real collector."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from services.edge.request_spans import TraceRequests
from services.runtime.settings import Settings
from services.runtime.telemetry.trace_context import current_traceparent
from services.runtime.telemetry.tracing import Tracing, open_tracing
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"


def application(tracing: Tracing | None) -> FastAPI:
    app = FastAPI()

    @app.get("/things/{name}")
    async def thing(name: str) -> dict[str, str]:
        return {"under": current_traceparent()}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("password=hunter2")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            raise RuntimeError("half way")

        return StreamingResponse(parts())

    @app.get("/health/ready")
    async def health() -> dict[str, str]:
        return {"under": current_traceparent()}

    app.add_middleware(TraceRequests, tracing=tracing)
    return app


class Edge:
    """The application and what it traced, once ``spans`` is asked for it."""

    def __init__(self, receiver: OtlpReceiver) -> None:
        wanted = {"otlp_endpoint": receiver.endpoint, "trace_sample_ratio": 0.0}
        tracing = open_tracing(Settings.model_validate(wanted), "edge")
        assert tracing is not None
        self._tracing, self._receiver = tracing, receiver
        self.client = client_of(application(tracing))

    async def spans(self) -> list[ReceivedSpan]:
        await self._tracing.stop()
        return self._receiver.spans


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("10.1.2.3", 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://conclave.example:8000")


@pytest.fixture
def edge() -> Any:
    with OtlpReceiver() as receiver:
        yield Edge(receiver)


async def test_a_request_is_named_by_its_route(edge: Edge) -> None:
    headers = {"traceparent": SAMPLED, "user-agent": "curl/8"}
    answer = await edge.client.get("/things/seven?token=abc", headers=headers)
    (span,) = await edge.spans()
    assert (span.trace_id, span.parent_id) == (TRACE, SPAN)
    assert span.kind_and_name == ("SERVER", "GET /things/{name}")
    assert answer.json() == {"under": f"00-{TRACE}-{span.span_id}-01"}
    assert not span.failed
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/things/{name}",
        "url.path": "/things/seven",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "conclave.example",
        "server.port": 8000,
        "client.address": "10.1.2.3",
        "user_agent.original": "curl/8",
        "conclave.correlation.id": "",
    }


@pytest.mark.parametrize(("path", "status"), [("/broken", 500), ("/stream", 200)])
async def test_an_answer_that_fails(edge: Edge, path: str, status: int) -> None:
    await edge.client.get(path, headers={"traceparent": SAMPLED})
    (span,) = await edge.spans()
    assert span.attributes["http.response.status_code"] == status
    assert span.failed is (status == 500)
    assert "hunter2" not in span.error + str(span.attributes)


@pytest.mark.parametrize(("method", "said"), [("PATCH", "PATCH"), ("BREW", "_OTHER")])
async def test_what_a_client_makes_up_names_no_span(edge: Edge, method: str, said: str) -> None:
    await edge.client.request(method, "/no/such/path", headers={"traceparent": SAMPLED})
    (span,) = await edge.spans()
    assert span.name == ("PATCH" if method == "PATCH" else "HTTP")
    assert span.attributes["http.request.method"] == said
    assert "http.route" not in span.attributes


async def test_texts_of_clients_are_cut(edge: Edge) -> None:
    headers = {"traceparent": SAMPLED, "user-agent": "x" * 5_000}
    await edge.client.get(f"/things/{'y' * 5_000}", headers=headers)
    (span,) = await edge.spans()
    assert len(span.attributes["user_agent.original"]) == len(span.attributes["url.path"]) == 280


async def test_two_traces_are_none(edge: Edge) -> None:
    await edge.client.get("/things/a", headers=[("traceparent", SAMPLED), ("traceparent", SAMPLED)])
    assert await edge.spans() == []  # a trace of its own, of which none is sampled


async def test_what_machines_ask_all_the_time_is_not_traced(edge: Edge) -> None:
    answer = await edge.client.get("/health/ready", headers={"traceparent": SAMPLED})
    assert answer.json() == {"under": ""}
    assert await edge.spans() == []


async def test_without_tracing_work_stands_under_the_clients_span() -> None:
    client = client_of(application(None))
    assert (await client.get("/things/a", headers={"traceparent": SAMPLED})).json() == {"under": SAMPLED}
    assert (await client.get("/things/a", headers={"traceparent": "none"})).json() == {"under": ""}
