"""``/metrics`` on the API's port: what this process counts, as every process shows it on its own port."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.dependencies import EdgeParts
from services.runtime.telemetry.endpoints import metrics_page

router = APIRouter(tags=["system"])

TEXT: Final = "text/plain"
OPEN_METRICS: Final = "application/openmetrics-text"
_EXAMPLE: Final = 'http_requests_total{handler="/api/v1/executions",method="POST",status="2xx"} 42.0\n'


@router.get(
    "/metrics",
    operation_id="getMetrics",
    dependencies=[needs(Scope.METRICS_READ)],
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "OK",
            "content": {kind: {"schema": {"type": "string"}, "example": _EXAMPLE} for kind in (TEXT, OPEN_METRICS)},
        }
    },
)
async def get_metrics(edge: EdgeParts, accept: Annotated[str, Header(include_in_schema=False)] = TEXT) -> Response:
    """Served while METRICS_ENABLED is true."""
    status, content_type, body = metrics_page(edge.telemetry.registry, accept)
    return Response(body, status, {"Content-Type": content_type})
