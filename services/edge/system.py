"""The edge itself: its health, and the documents of its routes and of the messages behind it. Open to everybody."""

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse

from services.edge.access.headers import page
from services.edge.access.requirements import PUBLIC
from services.edge.dependencies import EdgeParts, href_of
from services.edge.models import Alive, Health, OkOrNot, Part, Ready
from services.edge.problems import RETRY_AFTER
from services.runtime.telemetry.endpoints import is_ready

router = APIRouter(tags=["system"])


@router.get(
    "/health",
    operation_id="getHealth",
    dependencies=[PUBLIC],
    summary="Whether the edge reaches the store and the broker, and which services of its process are ready",
    responses={503: {"model": Health, "description": "The store or the broker is away."}},
)
async def get_health(edge: EdgeParts, response: Response) -> Health:
    states = await edge.readiness.states()
    services = {state.service: _word(state.ready) for state in states}
    own = {
        check.name: check.ok for state in states if state.service == edge.readiness.service for check in state.checks
    }
    store = Part(ok=own["store"], detail="" if own["store"] else "away, or does not answer in time")
    bus = Part(ok=own["bus"], detail="" if own["bus"] else "not connected")
    if not (store.ok and bus.ok):
        _unavailable(response)
    healthy = store.ok and bus.ok and all(word == "ok" for word in services.values())
    return Health(status="ok" if healthy else "degraded", store=store, bus=bus, services=services)


@router.get("/health/live", operation_id="getLiveness", dependencies=[PUBLIC], summary="Whether this process answers")
async def get_liveness() -> Alive:
    """A process that does not answer here is to be restarted; one whose store or broker is away is not."""
    return Alive()


@router.get(
    "/health/ready",
    operation_id="getReadiness",
    dependencies=[PUBLIC],
    summary="Whether this process is to be sent requests",
    responses={503: {"model": Ready, "description": "It starts, it ends, or something that it needs is away."}},
)
async def get_readiness(edge: EdgeParts, response: Response) -> Ready:
    """Not ready from the moment on that the process is told to end; the requests in hand are answered all the same."""
    states = await edge.readiness.states()
    ready = is_ready(states)
    if not ready:
        _unavailable(response)
    services = {state.service: {check.name: _word(check.ok) for check in state.checks} for state in states}
    return Ready(status=_word(ready), services=services)


def _word(ok: bool) -> OkOrNot:
    return "ok" if ok else "not ready"


def _unavailable(response: Response) -> None:
    response.status_code = 503
    response.headers["Retry-After"] = RETRY_AFTER


@router.get("/openapi.json", include_in_schema=False, dependencies=[PUBLIC])
def get_openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False, dependencies=[PUBLIC])
def show_docs(request: Request) -> HTMLResponse:
    # Without an icon of somebody else's: this page asks only for what it needs.
    shown = get_swagger_ui_html(
        openapi_url=href_of(request, "get_openapi"), title=request.app.title, swagger_favicon_url="data:,"
    )
    return page(bytes(shown.body).decode())


# The generator of the document, and what it is made of, is loaded when somebody asks for it.


@router.get(
    "/asyncapi",
    operation_id="showAsyncApi",
    dependencies=[PUBLIC],
    summary="The messages on the broker, as a page",
    response_class=HTMLResponse,
)
def show_asyncapi(edge: EdgeParts) -> HTMLResponse:
    from services.runtime.asyncapi import asyncapi_html

    return page(asyncapi_html(edge.settings.rabbitmq_url), compiles=True)


@router.get(
    "/asyncapi.json",
    operation_id="getAsyncApi",
    dependencies=[PUBLIC],
    summary="The messages on the broker, as AsyncAPI 3",
)
def get_asyncapi(edge: EdgeParts) -> JSONResponse:
    from services.runtime.asyncapi import asyncapi_document

    return JSONResponse(asyncapi_document(edge.settings.rabbitmq_url))
