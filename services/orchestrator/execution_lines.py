"""What the service's log says of executions: when each started and how it ended. Written by whoever appended it to the
execution's own log, so once, however many replicas there are.

The committer handles many executions at once, so their ids are on each line by name.
"""

from collections.abc import Iterable

import structlog

from services.orchestrator.engine import ExecutionState
from services.orchestrator.work import Work

log = structlog.get_logger(__name__)


def log_starts_and_ends(landed: Iterable[Work]) -> None:
    """Of executions whose entry was just stored."""
    for work in landed:
        if work.entry is None:
            continue
        state = work.held.state
        if work.entry.n == 1:
            log.info("execution started", steps=len(state.plan.steps), client=state.client, **_ids(state))
        if state.ended and work.entry.n == state.end_n:
            seconds = round((state.ended_at or state.started_at) - state.started_at, 6)
            end = {"status": str(state.status), "seconds": seconds, "failed_steps": state.failed}
            log.info("execution ended", **end, **_ids(state))


def _ids(state: ExecutionState) -> dict[str, str | None]:
    return {
        "execution_id": state.execution_id,
        "correlation_id": state.correlation_id,
        "workflow_id": state.workflow_id,
        "workflow_name": state.plan.definition.name,
    }
