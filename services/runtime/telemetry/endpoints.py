"""The operations port's application: metrics for Prometheus, and health."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic_core import to_json

from contracts.monitoring import ServiceState
from services.runtime.telemetry.telemetry import Telemetry

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, str, bytes]

JSON = "application/json"


class Endpoints:
    """``GET /metrics``, ``/health``, ``/health/live`` and ``/health/ready``, as an ASGI application."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, content_type, body = await self._answer(scope)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope) -> Answer:
        if scope["method"] not in ("GET", "HEAD"):
            return _json(405, {"title": "only GET is allowed here"})
        match scope["path"]:
            case "/metrics" if self._telemetry.enabled:
                return metrics_page(self._telemetry.registry, _header(scope, b"accept"))
            case "/metrics":
                return _json(404, {"title": "METRICS_ENABLED is false"})
            case "/health/live":
                return _json(200, {"status": "ok"})
            case "/health" | "/health/ready":
                states = await self._telemetry.health.states()
                return _json(200 if is_ready(states) else 503, summary(states))
            case _:
                there = ["/metrics", "/health", "/health/live", "/health/ready"]
                return _json(404, {"title": "there is nothing here", "paths": there})


def metrics_page(registry: CollectorRegistry, accept: str) -> Answer:
    """Status, content type and body: the registry in the text format, or as OpenMetrics for who accepts that."""
    try:
        encoder, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it compares versions, whatever stands there
        encoder, content_type = choose_encoder("")
    return 200, content_type, encoder(registry)


def is_ready(states: Iterable[ServiceState]) -> bool:
    """Whether all are; where there is none, nothing is ready."""
    found = list(states)
    return bool(found) and all(state.ready for state in found)


def summary(states: Iterable[ServiceState]) -> dict[str, Any]:
    """Each service with its checks: "ok", or what is wrong."""
    found = list(states)
    return {
        "status": "ok" if is_ready(found) else "not ready",
        "services": {state.service: {check.name: check.fault or "ok" for check in state.checks} for state in found},
    }


def _json(status: int, content: Any) -> Answer:
    return status, JSON, to_json(content)


def _header(scope: Scope, name: bytes) -> str:
    return b",".join(value for key, value in scope["headers"] if key == name).decode("latin-1")
