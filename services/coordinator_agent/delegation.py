"""Delegation: an execution of another workflow, started and waited for from inside a step.

The child's id is made of the step's idempotency key, so that a step that runs again, in another process or as another
attempt, finds the child it had started. It also carries the depth, ``delegate-<depth>-<digest>``: what a step knows of
its own execution is its id, and so a workflow that delegates to itself comes to an end.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterator

import structlog

from contracts import topology
from contracts.envelope import new_id
from contracts.execution import (
    DELEGATED_CLIENT,
    DELEGATED_ID,
    CancelAccepted,
    CancelExecution,
    DescribeExecution,
    ExecutionAccepted,
    ExecutionDescribed,
    Refused,
    StartExecution,
)
from contracts.history import ExecutionStatus
from contracts.topology import Address
from services.coordinator_agent.delegate_models import DelegateAnswer, DelegateInputs
from services.runtime.agent import (
    BaseAgent,
    CapabilityError,
    CommandRefused,
    StepContext,
    WorkCancelled,
    current_step,
    report_progress,
)
from services.runtime.bus.base import BusError
from services.runtime.requests import ReplyTimeout

log = structlog.get_logger(__name__)

MAX_DEPTH = 8
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.05, 1.0, 1.5  # seconds between two questions how the child stands
LONGEST_WAIT = 5.0  # seconds until a start that found no room is tried again; a step's timeout leaves no time for more
REPLY_SECONDS = 10.0
_LATER = frozenset({"overloaded", "unavailable"})
_CHILD = re.compile(rf"^{DELEGATED_ID}([0-9]{{1,3}})-[0-9a-f]{{32}}$")
_SHOWN = 5


class StartNow(StartExecution):
    """A start whose sender waits for the answer: it does not queue behind those that may wait."""

    def address(self) -> Address:
        return topology.start_now()


def depth_of(execution_id: str) -> int:
    """How many executions stand above this one; 0 for one that nobody delegated."""
    found = _CHILD.match(execution_id)
    return int(found[1]) if found else 0


def child_of(step: StepContext | None) -> tuple[str, int]:
    """The id and the depth of the execution that a step delegates to. Outside of a step, where nothing tells a repeat
    from another request, the id is new each time.

    Raises:
        CapabilityError: ``TooDeep``.
    """
    if step is None:
        return f"{DELEGATED_ID}1-{new_id()}", 1
    depth = depth_of(step.execution_id) + 1
    if depth > MAX_DEPTH:
        raise CapabilityError(
            f"{step.execution_id} is delegated {depth - 1} deep, and at most {MAX_DEPTH} are allowed; does a workflow "
            "delegate to itself?",
            code="TooDeep",
        )
    digest = hashlib.blake2b(step.idempotency_key.encode(), digest_size=16).hexdigest()
    return f"{DELEGATED_ID}{depth}-{digest}", depth


async def delegate(agent: BaseAgent, request: DelegateInputs) -> DelegateAnswer:
    """Start the child, or find it, and wait for its end.

    Raises:
        CapabilityError: ``DelegateRefused`` with the faults, ``DelegateFailed`` with the child's errors (if it is to be
            an error), ``TooDeep``.
    """
    step = current_step()
    child_id, depth = child_of(step)
    start = StartNow(
        execution_id=child_id,
        workflow_id=request.workflow_id,
        definition=request.definition,
        inputs=request.inputs,
        client=f"{DELEGATED_CLIENT}{depth}:{step.execution_id if step else agent.agent_id}",
    )
    limit = asyncio.timeout(request.time_limit)
    try:
        async with limit:
            await _started(agent, start)
            report_progress(0, f"started {child_id}")
            child = await _ended(agent, child_id)
    except TimeoutError:
        if not limit.expired():
            raise
        reason = f"it took longer than its time_limit of {request.time_limit:g} s"
        child = await _cancelled(agent, child_id, reason)
    except (asyncio.CancelledError, WorkCancelled):
        # A host that stops, or an attempt that took too long, leaves the child to whoever runs the step next.
        if step is None or step.cancelled:
            await _cancel(agent, child_id, "its parent was cancelled")
        raise
    return _answer(request, child, depth)


# ---- the child


async def _started(agent: BaseAgent, start: StartExecution) -> None:
    """Start the child, or see that it runs; wait while there is no room for it, as long as the step may take."""
    for pause in _pauses():
        try:
            await agent.request(start, ExecutionAccepted, REPLY_SECONDS)
            return
        except CommandRefused as error:
            refused = error.refused
            if refused.code not in _LATER:
                # Its workflow may have been changed or deleted since this step started it.
                if await _described(agent, start.execution_id) is not None:
                    return
                raise _refusal(start, refused) from error
            log.info("a start waits for room", child_execution_id=start.execution_id, reason=refused.message)
            await asyncio.sleep(pause if refused.retry_after is None else min(refused.retry_after, LONGEST_WAIT))
        except (ReplyTimeout, BusError) as error:
            log.info("a start is tried again", child_execution_id=start.execution_id, error=str(error))
            await asyncio.sleep(pause)


async def _ended(agent: BaseAgent, child_id: str) -> ExecutionDescribed:
    """Ask until it has ended, and report how far it is."""
    done = -1
    for pause in _pauses():
        try:
            child = await _described(agent, child_id)
        except (ReplyTimeout, BusError) as error:
            log.info("the question is repeated", child_execution_id=child_id, error=str(error))
            child = None
        if child is not None:
            if child.status.ended:
                return child
            if child.done != done:
                done = child.done
                report_progress(done / max(1, child.steps), f"{done} of {child.steps} steps of {child_id}")
        await asyncio.sleep(pause)
    raise AssertionError("the pauses have no end")


async def _described(agent: BaseAgent, child_id: str) -> ExecutionDescribed | None:
    """How the child stands; None if it was never started."""
    try:
        return await agent.request(DescribeExecution(execution_id=child_id), ExecutionDescribed, REPLY_SECONDS)
    except CommandRefused as error:
        if error.refused.code == "not_found":
            return None
        raise


async def _cancelled(agent: BaseAgent, child_id: str, reason: str) -> ExecutionDescribed:
    """Cancel the child and see how it ended: it may have completed meanwhile."""
    await _cancel(agent, child_id, reason)
    try:
        child = await _described(agent, child_id)
    except (ReplyTimeout, BusError, CommandRefused) as error:
        log.warning("how the child stands is not known", child_execution_id=child_id, error=str(error))
        child = None
    if child is not None and child.status.ended:
        return child
    return ExecutionDescribed(execution_id=child_id, status=ExecutionStatus.CANCELLED, reason=reason)


async def _cancel(agent: BaseAgent, child_id: str, reason: str) -> None:
    try:
        await agent.request(CancelExecution(execution_id=child_id, reason=reason), CancelAccepted, REPLY_SECONDS)
    except (CommandRefused, ReplyTimeout, BusError) as error:
        log.warning("the child was not cancelled", child_execution_id=child_id, error=str(error))


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * GROWTH, LONGEST_PAUSE)


# ---- the answer


def _answer(request: DelegateInputs, child: ExecutionDescribed, depth: int) -> DelegateAnswer:
    answer = DelegateAnswer(
        execution_id=child.execution_id,
        status=child.status,
        completed=child.status is ExecutionStatus.COMPLETED,
        outputs=child.outputs,
        errors=child.errors,
        reason=child.reason,
        steps=child.steps,
        depth=depth,
    )
    if not answer.completed and request.on_failure == "error":
        raise CapabilityError(
            f"execution {child.execution_id} {_how(child)}",
            code="DelegateFailed",
            details=answer.model_dump(mode="json", exclude={"outputs"}),
        )
    return answer


def _how(child: ExecutionDescribed) -> str:
    because = f" ({child.reason})" if child.reason else ""
    errors = [f"{step}: {error.type}: {error.message}" for step, error in child.errors.items()]
    more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
    what = "was cancelled" if child.status is ExecutionStatus.CANCELLED else "failed"
    return f"{what}{because}{': ' if errors else ''}{'; '.join(errors[:_SHOWN])}{more}"


def _refusal(start: StartExecution, refused: Refused) -> CapabilityError:
    faults = "; ".join(f"{fault.path or 'definition'}: {fault.message}" for fault in refused.faults[:_SHOWN])
    more = f"; and {len(refused.faults) - _SHOWN} more" if len(refused.faults) > _SHOWN else ""
    what = f"the workflow {start.workflow_id}" if start.workflow_id else "the definition"
    return CapabilityError(
        f"{what} was not started: {refused.message}{': ' if faults else ''}{faults}{more}",
        code="DelegateRefused",
        details={"code": refused.code, "faults": [fault.model_dump(mode="json") for fault in refused.faults]},
    )
