"""What is counted of requests, by prometheus-fastapi-instrumentator, into the registry of this process."""

from collections.abc import Callable
from functools import cache, partial
from typing import Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry, Gauge
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.metrics import Info, default
from starlette.types import ASGIApp, Receive, Scope, Send

# Asked by machines every few seconds: beside them, what users ask would not be seen.
EXCLUDED: Final = ("^/metrics$", "^/health($|/)")
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds. Most answers come within a few milliseconds, and a request that waits for an agent may take minutes.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BUCKETS_BY_ROUTE: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
NO_ROUTE: Final = "none"
NO_METHOD: Final = "other"


class HttpMetrics:
    """Of one process: all its applications count into the same."""

    def __init__(self, registry: CollectorRegistry) -> None:
        count = default(
            should_exclude_streaming_duration=True,
            latency_highr_buckets=BUCKETS,
            latency_lowr_buckets=BUCKETS_BY_ROUTE,
            registry=registry,
        )
        if count is None:
            raise ValueError("requests are counted into this registry by somebody else")
        self.count = count
        # The instrumentator has such a gauge, and puts it into the registry of everybody.
        self.in_progress = Gauge("http_requests_in_progress", "Requests that are being answered now", registry=registry)


def instrument(app: FastAPI, metrics: HttpMetrics) -> None:
    """Count the requests of ``app`` by route, method and class of status, and time them until their answer begins: an
    event stream has no end that would say anything. What is to be counted stands inside: add it before this."""
    counting = Instrumentator(excluded_handlers=list(EXCLUDED))
    routes = partial(_routes_of, app)
    counting.add(_bounded(metrics.count, routes)).instrument(app)
    app.add_middleware(InProgress, gauge=metrics.in_progress)


def _routes_of(app: FastAPI) -> frozenset[str]:
    return frozenset(route.path or "" for route in iter_route_contexts(app.routes))


def _bounded(count: Callable[[Info], None], read_routes: Callable[[], frozenset[str]]) -> Callable[[Info], None]:
    """Labels have the values that are served here and no others, whatever a client sends: a method may be any word,
    and a path that is redirected is taken for a route."""
    routes = cache(read_routes)  # asked when there are all of them

    def counted(info: Info) -> None:
        if info.method not in METHODS:
            info.method = NO_METHOD
        if info.modified_handler not in routes():
            info.modified_handler = NO_ROUTE
        if not info.modified_duration_without_streaming:  # no answer began: it is made further out
            info.modified_duration_without_streaming = info.modified_duration
        count(info)

    return counted


class InProgress:
    """Middleware: how many requests are being answered, event streams among them."""

    def __init__(self, app: ASGIApp, *, gauge: Gauge) -> None:
        self._app = app
        self._gauge = gauge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._gauge.track_inprogress():
            await self._app(scope, receive, send)
