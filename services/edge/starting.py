"""Starting an execution: the same for a stored workflow and for a definition sent along."""

from datetime import UTC, datetime
from typing import Any

from fastapi import Request, Response

from contracts import topology
from contracts.execution import ExecutionAccepted, StartExecution
from services.edge.dependencies import Edge, execution_id_for, href_of
from services.edge.models import Started
from services.edge.problems import Problem
from services.runtime.correlation import add_to_hand

REPEATED_HEADER = "Idempotency-Replayed"
STARTED_HEADERS = {
    "Location": "Where the execution is.",
    REPEATED_HEADER: "`true` where an earlier request with this Idempotency-Key had started it.",
}


async def check_room(edge: Edge, client: str, key: str | None) -> None:
    """To be called before the body is read. A start that is a repetition, as only one with a key can be, goes on.

    Raises:
        Problem: there is no room.
    """
    if not edge.pressure.starts_closed:
        return
    if key is not None:
        execution_id = execution_id_for(client, key)
        async with edge.reads.in_time():
            if execution_id in await edge.store.read_headers([execution_id]):
                return
    raise edge.pressure.closed()


async def start(
    request: Request,
    response: Response,
    edge: Edge,
    *,
    workflow_id: str | None = None,
    definition: dict[str, Any] | None = None,
    inputs: dict[str, Any],
    client: str,
    key: str | None,
    correlation_id: str,
) -> Started:
    """Send the command, and say where the execution is.

    Raises:
        Problem: as the command's answer says; a key that was used with another body is 422.
    """
    execution_id = execution_id_for(client, key)
    add_to_hand(execution_id=execution_id)
    href = href_of(request, "get_execution", execution_id=execution_id)
    command = StartExecution(
        execution_id=execution_id, workflow_id=workflow_id, definition=definition, inputs=inputs, client=client
    )
    try:
        accepted = await edge.commands.ask(
            command,
            ExecutionAccepted,
            actor=client,
            to=topology.start_now(),
            correlation_id=correlation_id,
            members={"execution_id": execution_id},
            repeating="repeating this request with the same Idempotency-Key is safe"
            if key is not None
            else f"look at {href} before starting it again, or send an Idempotency-Key, with which repeating is safe",
        )
    except Problem as problem:
        if problem.kind == "conflict" and key is not None:
            detail = f"this Idempotency-Key was used before with another definition or other inputs, for {href}"
            raise Problem("idempotency-key-reused", detail, members={"execution_id": execution_id}) from None
        raise
    edge.pressure.started()
    response.headers["Location"] = href
    if accepted.repeated:
        response.headers[REPEATED_HEADER] = "true"
    return Started(workflow_id=accepted.workflow_id, execution_id=execution_id, timestamp=datetime.now(UTC))
