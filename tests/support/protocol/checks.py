"""What must hold after every step, and what must hold at the end."""

from collections import Counter

from contracts.history import (
    AttemptFailed,
    ExecutionEnded,
    ExecutionStarted,
    StepDispatched,
    StepProgressed,
    StepStatus,
)
from services.orchestrator.engine import ExecutionState, fold_entry
from tests.support.protocol.gates import Violation
from tests.support.protocol.workflows import verdict
from tests.support.protocol.world import World

_CLOSING = {"step_succeeded", "step_failed", "step_skipped", "step_cancelled"}


def check_now(world: World) -> None:
    """Logs are dense; every cached state that claims entry n is what folding n entries gives; no header sleeps past
    a deadline (once whoever stored the entry has written it)."""
    if world.broken:
        raise RuntimeError(world.broken)
    if world.unheard:
        raise Violation(world.unheard)
    if world.taken_forgeries:
        raise Violation(f"a forged message was acked: {world.taken_forgeries[0].body!r}")
    for execution_id in world.executions:
        numbers = [entry.n for entry in world.log(execution_id)]
        if numbers != list(range(1, len(numbers) + 1)):
            raise Violation(f"{execution_id}: the log is not dense: {numbers}")
    for replica in world.replicas:
        if replica.committer.mailbox.drained.is_set():
            for held in replica.states._cache.values():
                _check_cached(world, held.state)


def _check_cached(world: World, cached: ExecutionState) -> None:
    state = ExecutionState(cached.execution_id, cached.plan)
    for entry in world.log(cached.execution_id)[: cached.n]:
        fold_entry(state, entry)
    for step_id in state.plan.steps:
        if state.step(step_id) != cached.step(step_id):
            raise Violation(
                f"{cached.execution_id}/{step_id}: cached {cached.step(step_id)}, log {state.step(step_id)}"
            )
    if (state.status, state.n, state.unfinished, state.wake_at) != (
        cached.status,
        cached.n,
        cached.unfinished,
        cached.wake_at,
    ):
        raise Violation(f"{cached.execution_id}: the cached state is not what the log folds to")


def check_wake(world: World) -> None:
    """Nobody has anything in hand: then a stored header may wake early, never late."""
    for execution_id in world.executions:
        state, header = world.folded(execution_id), world.header(execution_id)
        if state.status is None or state.ended or state.wake_at is None:
            continue
        if header is None or header.wake_at is None or header.wake_at > state.wake_at:
            raise Violation(f"{execution_id}: wakes at {header and header.wake_at}, should by {state.wake_at}")


def check_end(world: World) -> None:
    """Terminal, legal by the graph, history complete, exactly the stored outcome told."""
    for execution_id, plan in world.executions.items():
        state = world.folded(execution_id)
        if not state.ended or state.status is None:
            left = {step_id: state.step(step_id).status.value for step_id in plan.steps}
            raise Violation(f"{execution_id} never ended: {left}")
        if world.told[execution_id] != {state.status.value}:
            raise Violation(f"{execution_id} ended {state.status.value}, told was {world.told[execution_id]}")
        header = world.header(execution_id)
        if header is None or header.status is not state.status:
            raise Violation(f"{execution_id}: the header says {header and header.status}, the log {state.status}")
        _check_graph(world, execution_id, state)
        _check_history(world, execution_id, state)
        _check_progress(world, execution_id)
        _check_given_up(world, execution_id, state)
    if world.dead_letters:
        raise Violation(f"dead letters: {world.dead_letters}")


def _check_graph(world: World, execution_id: str, state: ExecutionState) -> None:
    statuses = {step_id: state.step(step_id).status.value for step_id in state.plan.steps}
    outputs = {step_id: state.step(step_id).output for step_id in state.plan.steps}
    expected = "failed" if "failed" in statuses.values() else "completed"
    if state.status is not None and state.status.value not in (expected, "cancelled"):
        raise Violation(f"{execution_id} is {state.status.value} with {statuses}")
    for step_id, planned in state.plan.steps.items():
        status = statuses[step_id]
        if status == "cancelled" or "cancelled" in (statuses[needed] for needed in planned.needs):
            continue
        should = verdict(planned.definition, statuses, outputs)
        if (status == "skipped") != (should == "skip"):
            raise Violation(f"{execution_id}/{step_id} is {status}, the graph says {should}")
        if status == "succeeded" and outputs[step_id]["of"] != {n: outputs[n] for n in planned.definition.inputs}:
            raise Violation(f"{execution_id}/{step_id}: its result was made from other inputs")
        if status in ("succeeded", "failed") and not any(
            world.ran[f"{execution_id}/{step_id}/{attempt}"] for attempt in range(1, state.step(step_id).attempt + 1)
        ):
            error = state.step(step_id).error
            if error is None or error.type != "LeaseExpired":
                raise Violation(f"{execution_id}/{step_id} is {status} but never ran")
        error = state.step(step_id).error
        if error is not None and error.type == "AgentCrashed" and not world.traits[execution_id][step_id].poison:
            raise Violation(f"{execution_id}/{step_id}: an innocent step was blamed for a crash")


def _check_history(world: World, execution_id: str, state: ExecutionState) -> None:
    forged = [cause for entry in world.log(execution_id) for cause in entry.applied if "forged" in cause]
    if forged:
        raise Violation(f"{execution_id}: a forged message was applied: {forged[0]}")
    events = [event for entry in world.log(execution_id) for event in entry.events]
    if not isinstance(events[0], ExecutionStarted) or not isinstance(events[-1], ExecutionEnded):
        raise Violation(f"{execution_id}: history does not begin with its start and end with its end")
    closings = Counter(getattr(event, "step", "") for event in events if event.kind in _CLOSING)
    if closings != Counter(dict.fromkeys(state.plan.steps, 1)):
        raise Violation(f"{execution_id}: steps closed {closings}")
    for step_id in state.plan.steps:
        sent = [e.attempt for e in events if isinstance(e, StepDispatched) and e.step == step_id]
        failed = [e.attempt for e in events if isinstance(e, AttemptFailed) and e.step == step_id]
        if sent != list(range(1, len(sent) + 1)) or failed != sent[: len(failed)]:
            raise Violation(f"{execution_id}/{step_id}: attempts {sent}, failures {failed}")
        if len(failed) < len(sent) - 1:
            raise Violation(f"{execution_id}/{step_id}: attempt {len(sent)} without a failure of the one before")
    seen: set[str] = set()
    for event in events:
        step_id = getattr(event, "step", "")
        if isinstance(event, StepDispatched) and not set(state.plan.steps[step_id].needs) <= seen:
            raise Violation(f"{execution_id}/{step_id} was sent before its dependencies had ended")
        if event.kind in _CLOSING:
            seen.add(step_id)


def _check_progress(world: World, execution_id: str) -> None:
    """Each report is there once, in its run's order, of an attempt that was the current one and open."""
    attempts: dict[str, int] = {}
    latest: dict[tuple[str, str], int] = {}
    for event in (event for entry in world.log(execution_id) for event in entry.events):
        if isinstance(event, StepDispatched):
            attempts[event.step] = event.attempt
        elif isinstance(event, AttemptFailed) or event.kind in _CLOSING:
            attempts.pop(getattr(event, "step", ""), None)
        elif isinstance(event, StepProgressed):
            if attempts.get(event.step) != event.attempt:
                raise Violation(f"{execution_id}/{event.step}: progress of attempt {event.attempt}, which was not open")
            key = (event.step, event.run_id)
            if event.number <= latest.get(key, 0):
                raise Violation(f"{execution_id}/{event.step}: report {event.number} of {event.run_id} twice, or late")
            latest[key] = event.number


def _check_given_up(world: World, execution_id: str, state: ExecutionState) -> None:
    """Hosts were told exactly of the attempts that had been sent and had not ended when it was cancelled."""
    sent = {
        f"{execution_id}/{step_id}/{state.step(step_id).attempt}"
        for step_id in state.plan.steps
        if state.step(step_id).status is StepStatus.CANCELLED and state.step(step_id).attempt
    }
    if world.told_cancelled[execution_id] != sent:
        raise Violation(f"{execution_id} left {sent} with agents, told was {world.told_cancelled[execution_id]}")
