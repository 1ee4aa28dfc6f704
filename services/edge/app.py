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
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts import topology
from contracts.execution import ExecutionsAdvanced
from contracts.workflow import WorkflowDefinition
from services.edge import (
    agent_types,
    agents,
    audit,
    correlation,
    dead_letters,
    events,
    executions,
    http_metrics,
    keys,
    messages,
    metrics,
    monitoring,
    openapi,
    problems,
    system,
    workflows,
)
from services.edge.access import configuration
from services.edge.access.authentication import open_authenticator
from services.edge.access.body_limit import BodyLimit
from services.edge.access.cors import cors_options
from services.edge.access.headers import SecurityHeaders
from services.edge.access.middleware import Authentication
from services.edge.agent_models import NewAgent, NewBroadcast, NewMessage
from services.edge.audit_trail import AuditTrail
from services.edge.commands import Commands
from services.edge.dependencies import Edge
from services.edge.gate import Gate
from services.edge.http_metrics import HttpMetrics
from services.edge.key_models import NewKey, RotateKey
from services.edge.live import LiveFeed
from services.edge.models import Cancel, ExecuteDefinition, ExecuteWorkflow
from services.edge.outline import Outlines
from services.edge.pressure import Pressure
from services.edge.readiness import Readiness
from services.edge.reading import Reads
from services.edge.request_log import LogRequests
from services.edge.request_records import RecordRequests
from services.edge.request_spans import TraceRequests
from services.edge.server import Server
from services.edge.timeline import route as timeline
from services.edge.waiting import Waiting
from services.runtime.bus.base import Bus
from services.runtime.bus.open import open_bus
from services.runtime.logs import configure_logging
from services.runtime.requests import Requests
from services.runtime.service import Outbox, Route, Service
from services.runtime.settings import Settings, load_settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from services.runtime.telemetry.health import store_answers
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry, open_telemetry
from services.runtime.telemetry.tracing import Tracing
from services.runtime.telemetry.tracing_sends import SendSpans

log = structlog.get_logger(__name__)

NAME = "edge"
PREFIX = "/api/v1"
# How long the first request waits for a broker that is there to be connected; one that is away is waited for behind
# the scenes.
SERVE_AFTER_SECONDS = 1.0


def create_application(
    settings: Settings, store: Store, bus: Bus, telemetry: Telemetry | None = None, *, alone: bool = False
) -> FastAPI:
    """The API as an ASGI application. Its lifespan connects to the bus and the store, and disconnects; where it is
    ``alone`` in its process, it also opens and closes the process's operations port.

    Raises:
        BadSettings: with them nobody could sign in, or they contradict each other.
    """
    configuration.check(settings)
    telemetry = telemetry or Telemetry()
    requests = Requests(bus, NAME)
    pressure = Pressure(settings.max_pending_commands)
    live = LiveFeed(store)
    trail = AuditTrail(Outbox(bus, NAME), NAME)
    feed = topology.events_feed(f"edge.{uuid.uuid4().hex}.events", "execution.advanced")
    service = Service(
        NAME,
        bus,
        routes=[Route(feed, handlers={ExecutionsAdvanced: live.advanced}, prefetch=500)],
        resources=[store, requests, live, trail],
        needs={"store": store_answers(store)},
    )

    app = FastAPI(
        title="Conclave",
        version="1",
        summary="Decision workflows over a message broker.",
        description="Store workflow definitions, start executions of them, and follow them; create agents and send them"
        " messages. Errors are RFC 9457 problem documents. `/asyncapi` shows the messages that do the same straight on"
        " the broker.",
        lifespan=_lifespan(service, Operations(settings, telemetry, [service]) if alone else None),
        # Served by system.router, where each says that it is open to everybody.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    tracing = telemetry.tracing_of(NAME)
    sends = SendSpans(tracing)
    commands = Commands(bus, requests, Outbox(bus, NAME), pressure, sends, seconds=settings.answer_timeout)
    edge = Edge(
        settings=settings,
        store=store,
        reads=Reads(store, settings.answer_timeout),
        bus=bus,
        commands=commands,
        live=live,
        outlines=Outlines(store),
        pressure=pressure,
        waiting=Waiting(pressure),
        authenticator=open_authenticator(settings, store),
        telemetry=telemetry,
        readiness=Readiness(telemetry.health, service),
    )
    app.state.edge = edge
    app.state.service = service

    app.include_router(workflows.router, prefix=PREFIX)
    app.include_router(executions.router, prefix=PREFIX)
    app.include_router(events.router, prefix=PREFIX)
    # In this order: what stands under /agents itself comes before /agents/{agent_id}.
    app.include_router(agent_types.router, prefix=PREFIX)
    app.include_router(messages.router, prefix=PREFIX)
    app.include_router(agents.router, prefix=PREFIX)
    app.include_router(dead_letters.router, prefix=PREFIX)
    app.include_router(keys.router, prefix=PREFIX)
    app.include_router(audit.router, prefix=PREFIX)
    app.include_router(monitoring.router, prefix=PREFIX)
    app.include_router(timeline.router, prefix=PREFIX)
    app.include_router(system.router)
    if telemetry.enabled:
        app.include_router(metrics.router)

    problems.install(app)
    events.install(app)
    _add_middleware(app, edge, trail, tracing)
    app.openapi = openapi.document_of(app, _schemas, api_key_header=settings.api_key_header)  # type: ignore[method-assign]
    return app


def build(settings: Settings, bus: Bus, store: Store | None = None, *, telemetry: Telemetry | None = None) -> Server:
    """The edge as something to start and stop: an HTTP server with the application in it."""
    app = create_application(settings, store or open_store(settings), bus, telemetry)
    edge: Edge = app.state.edge

    def let_nobody_wait() -> None:
        edge.live.end_streams()
        edge.waiting.end()

    return Server(
        app.state.service,
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
    telemetry = open_telemetry(settings, NAME)
    bus = open_bus(settings, NAME, telemetry=telemetry)
    return create_application(settings, open_store(settings), bus, telemetry, alone=True)


def _lifespan(
    service: Service, operations: Operations | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if operations is not None:
            await operations.start()
        starting = asyncio.create_task(service.start(), name="edge-start")
        starting.add_done_callback(_report)
        try:
            await asyncio.wait([starting], timeout=SERVE_AFTER_SECONDS)
            if starting.done():
                starting.result()
            yield
        finally:
            if operations is not None:
                await operations.end()
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await service.stop()
            if operations is not None:
                await operations.stop()

    return lifespan


def _report(starting: asyncio.Task[None]) -> None:
    if not starting.cancelled() and (error := starting.exception()) is not None:
        log.error("the edge cannot connect and will not try again", error=repr(error), exc_info=error)


def _add_middleware(app: FastAPI, edge: Edge, trail: AuditTrail, tracing: Tracing | None) -> None:
    """The last one added is the first that a request meets. Everything is refused by name and with a correlation id;
    nobody who is not let in takes a place at the gate; and who is told so is told it as a browser understands it."""
    settings = edge.settings
    app.add_middleware(Gate, pressure=edge.pressure, prefix=f"{PREFIX}/")
    app.add_middleware(Authentication, authenticator=edge.authenticator, serves=app)
    app.add_middleware(BodyLimit, most=settings.max_body_bytes)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cors_options(settings))
    if edge.telemetry.enabled:
        http_metrics.instrument(app, edge.telemetry.metrics(HttpMetrics))
    app.add_middleware(SecurityHeaders, cross_origin=bool(settings.cors_origins))
    app.add_middleware(RecordRequests, keep=trail.add)
    app.add_middleware(LogRequests)
    app.add_middleware(TraceRequests, tracing=tracing)
    app.add_middleware(correlation.CorrelationId)


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
        NewKey,
        RotateKey,
    ]
    _, document = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {**document["$defs"], "Problem": openapi.PROBLEM_SCHEMA}
