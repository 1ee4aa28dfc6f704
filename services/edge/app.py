"""The edge: the HTTP API in front of the bus. This is its table: which router serves what, and what it listens to.

Reads are answered from the store; everything that changes something is sent as a command and answered by whoever took
it. The edge serves whether or not the store and the broker are there, and says 503 while they are not.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts import topology
from contracts.execution import ExecutionsAdvanced
from contracts.workflow import WorkflowDefinition
from services.edge import (
    agent_types,
    agents,
    correlation,
    dead_letters,
    events,
    executions,
    messages,
    openapi,
    problems,
    starting,
    system,
    workflows,
)
from services.edge.agent_models import NewAgent, NewBroadcast, NewMessage
from services.edge.commands import Commands
from services.edge.dependencies import Edge
from services.edge.gate import Gate
from services.edge.live import LiveFeed
from services.edge.models import Cancel, ExecuteDefinition, ExecuteWorkflow
from services.edge.outline import Outlines
from services.edge.pressure import Pressure
from services.edge.server import Server
from services.edge.waiting import Waiting
from services.runtime.bus.base import Bus
from services.runtime.bus.open import open_bus
from services.runtime.logs import configure_logging
from services.runtime.requests import Requests
from services.runtime.service import Outbox, Route, Service
from services.runtime.settings import Settings, load_settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store

log = structlog.get_logger(__name__)

NAME = "edge"
PREFIX = "/api/v1"
# How long the first request waits for a broker that is there to be connected; one that is away is waited for behind
# the scenes.
SERVE_AFTER_SECONDS = 1.0


def create_application(settings: Settings, store: Store, bus: Bus) -> FastAPI:
    """The API as an ASGI application. Its lifespan connects to the bus and the store, and disconnects."""
    requests = Requests(bus, NAME)
    pressure = Pressure(settings.max_pending_commands)
    live = LiveFeed(store)
    feed = topology.events_feed(f"edge.{uuid.uuid4().hex}.events", "execution.advanced")
    service = Service(
        NAME,
        bus,
        routes=[Route(feed, handlers={ExecutionsAdvanced: live.advanced}, prefetch=500)],
        resources=[store, requests, live],
    )

    app = FastAPI(
        title="Conclave",
        version="1",
        summary="Decision workflows over a message broker.",
        description="Store workflow definitions, start executions of them, and follow them; create agents and send them"
        " messages. Errors are RFC 9457 problem documents. `/asyncapi` shows the messages that do the same straight on"
        " the broker.",
        lifespan=_lifespan(service),
    )
    commands = Commands(bus, requests, Outbox(bus, NAME), pressure)
    app.state.edge = Edge(settings, store, bus, commands, live, Outlines(store), pressure, Waiting(pressure))

    app.include_router(workflows.router, prefix=PREFIX)
    app.include_router(executions.router, prefix=PREFIX)
    app.include_router(events.router, prefix=PREFIX)
    # In this order: what stands under /agents itself comes before /agents/{agent_id}.
    app.include_router(agent_types.router, prefix=PREFIX)
    app.include_router(messages.router, prefix=PREFIX)
    app.include_router(agents.router, prefix=PREFIX)
    app.include_router(dead_letters.router, prefix=PREFIX)
    app.include_router(system.router)

    problems.install(app)
    events.install(app)
    _add_middleware(app, settings, pressure)
    app.openapi = openapi.document_of(app, _schemas)  # type: ignore[method-assign]
    return app


def build(settings: Settings, bus: Bus, store: Store | None = None) -> Server:
    """The edge as something to start and stop: an HTTP server with the application in it."""
    app = create_application(settings, store or open_store(settings), bus)
    edge: Edge = app.state.edge

    def let_nobody_wait() -> None:
        edge.live.end_streams()
        edge.waiting.end()

    return Server(
        NAME,
        app,
        let_nobody_wait,
        host=settings.api_host,
        port=settings.api_port,
        shutdown_timeout=settings.shutdown_timeout,
    )


def app() -> FastAPI:
    """``uvicorn services.edge.app:app --factory --timeout-graceful-shutdown 10``: without the last, open event streams
    keep uvicorn from ending. ``python -m services edge`` ends them itself."""
    settings = load_settings()
    configure_logging(settings, NAME)
    return create_application(settings, open_store(settings), open_bus(settings))


def _lifespan(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start(), name="edge-start")
        starting.add_done_callback(_report)
        try:
            await asyncio.wait([starting], timeout=SERVE_AFTER_SECONDS)
            if starting.done():
                starting.result()
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await service.stop()

    return lifespan


def _report(starting: asyncio.Task[None]) -> None:
    if not starting.cancelled() and (error := starting.exception()) is not None:
        log.error("the edge cannot connect and will not try again", error=repr(error), exc_info=error)


def _add_middleware(app: FastAPI, settings: Settings, pressure: Pressure) -> None:
    """The last one added is the first that a request meets."""
    app.add_middleware(Gate, pressure=pressure, prefix=f"{PREFIX}/")
    metrics = Instrumentator(
        registry=CollectorRegistry(),
        excluded_handlers=["^/metrics$"],
        should_exclude_streaming_duration=True,
    )
    metrics.instrument(app).expose(app, tags=["system"], operation_id="getMetrics", summary="Metrics for Prometheus")
    app.add_middleware(correlation.CorrelationId)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials="*" not in settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Content-Type", "Idempotency-Key", "Last-Event-ID", correlation.HEADER],
            expose_headers=["Location", "Retry-After", starting.REPEATED_HEADER, correlation.HEADER],
        )


def _schemas() -> dict[str, Any]:
    """The schemas of what the routers read themselves: bodies in JSON or YAML."""
    models: list[type[BaseModel]] = [
        WorkflowDefinition,
        ExecuteWorkflow,
        ExecuteDefinition,
        Cancel,
        NewAgent,
        NewMessage,
        NewBroadcast,
    ]
    _, document = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {**document["$defs"], "Problem": openapi.PROBLEM_SCHEMA}
