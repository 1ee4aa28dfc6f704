"""The edge itself: its health, and the document of the messages behind it."""

import structlog
from fastapi import APIRouter, Response
from starlette.responses import HTMLResponse, JSONResponse

from services.edge.dependencies import EdgeParts
from services.edge.models import Health, Part
from services.edge.problems import RETRY_AFTER
from services.edge.reading import reading
from services.runtime.store.base import StoreError

log = structlog.get_logger(__name__)

router = APIRouter(tags=["system"])


@router.get(
    "/health",
    operation_id="getHealth",
    summary="Whether the edge reaches the store and the broker",
    responses={503: {"model": Health, "description": "One of them is away."}},
)
async def get_health(edge: EdgeParts, response: Response) -> Health:
    try:
        async with reading():
            await edge.store.ping()
        store = Part(ok=True)
    except StoreError as error:
        log.warning("store unavailable", path="/health", error=str(error))
        store = Part(ok=False, detail="away, or does not answer in time")
    bus = Part(ok=edge.bus.connected, detail="" if edge.bus.connected else "not connected")
    healthy = store.ok and bus.ok
    if not healthy:
        response.status_code = 503
        response.headers["Retry-After"] = RETRY_AFTER
    return Health(status="ok" if healthy else "degraded", store=store, bus=bus)


# The generator of the document, and what it is made of, is loaded when somebody asks for it.


@router.get("/asyncapi", operation_id="showAsyncApi", summary="The messages on the broker, as a page")
def show_asyncapi(edge: EdgeParts) -> HTMLResponse:
    from services.runtime.asyncapi import asyncapi_html

    return HTMLResponse(asyncapi_html(edge.settings.rabbitmq_url))


@router.get("/asyncapi.json", operation_id="getAsyncApi", summary="The messages on the broker, as AsyncAPI 3")
def get_asyncapi(edge: EdgeParts) -> JSONResponse:
    from services.runtime.asyncapi import asyncapi_document

    return JSONResponse(asyncapi_document(edge.settings.rabbitmq_url))
