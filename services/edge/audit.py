"""The audit log: ``/api/v1/monitoring/audit``. Shown from the store; whether it is whole is for ``python -m services
audit verify`` to tell."""

from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from contracts.audit import AuditFilter, AuditResult
from services.edge import audit_examples as examples
from services.edge.access.requirements import needs
from services.edge.access.scopes import Scope
from services.edge.audit_models import AuditPage, show_entry
from services.edge.dependencies import EdgeParts
from services.edge.openapi import ok, problems
from services.edge.problems import unavailable
from services.edge.reading import After, Limit
from services.runtime.store.audit_documents import AlteredEntry
from services.runtime.store.base import Page

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/monitoring/audit", tags=["monitoring"])


@router.get("/", include_in_schema=False, dependencies=[needs(Scope.AUDIT_READ)])
@router.get(
    "",
    operation_id="listAudit",
    dependencies=[needs(Scope.AUDIT_READ)],
    summary="List who did what to which, from where and with what result",
    responses={
        **ok({"items": [examples.ENTRY], "next": examples.CURSOR}),
        **problems(400, 422, 503, examples=examples.PROBLEMS),
    },
)
async def list_audit(
    edge: EdgeParts,
    actor: Annotated[str | None, Query(description="Only what this one did.", examples=["key:dashboard"])] = None,
    action: Annotated[str | None, Query(description="Only this.", examples=["execution.start.v1"])] = None,
    subject: Annotated[str | None, Query(description="Only what was done to this.")] = None,
    result: Annotated[AuditResult | None, Query(description="Only what ended like this.")] = None,
    correlation_id: Annotated[str | None, Query(description="Only what belongs to this request.")] = None,
    since: Annotated[AwareDatetime | None, Query(examples=["2026-01-31T00:00:00Z"])] = None,
    until: Annotated[AwareDatetime | None, Query(examples=["2026-02-01T00:00:00Z"])] = None,
    limit: Limit = 50,
    after: After = None,
) -> AuditPage:
    """Latest first."""
    wanted = AuditFilter(
        actor=actor,
        action=action,
        subject=subject,
        result=result,
        correlation_id=correlation_id,
        since=_epoch(since),
        until=_epoch(until),
    )
    try:
        async with edge.reads.in_time():
            entries, following = await edge.store.list_audit(wanted, Page(limit, after))
    except AlteredEntry as error:
        log.critical("THE AUDIT LOG WAS ALTERED", entry=error.n, error=str(error))
        raise unavailable(
            f"entry {error.n} of the audit log was altered in the store, so this page is not shown;"
            " `python -m services audit verify` says more",
            entry=error.n,
        ) from None
    return AuditPage(items=[show_entry(entry) for entry in entries], next=following)


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
