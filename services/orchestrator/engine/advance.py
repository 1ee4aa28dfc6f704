"""``advance``: decide what follows from a message, and record it. No I/O, no clock, no randomness: the same state and
the same message always give the same events."""

from collections.abc import Iterable

from contracts.execution import StepProgress, StepResult, WakeUp
from contracts.history import (
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    StepCancelled,
    StepError,
    StepFailed,
    StepSkipped,
    StepStatus,
)
from services.orchestrator.engine.fold import fold
from services.orchestrator.engine.kinds import Inputs, kind_of
from services.orchestrator.engine.messages import (
    Cancel,
    Command,
    Decision,
    EngineMessage,
    Forbidden,
    Start,
    UnknownExecution,
    cause_of,
)
from services.orchestrator.engine.state import ExecutionState, StepsView
from services.runtime.definitions.budget import Budget, message_budget
from services.runtime.definitions.expressions import ExpressionError


def advance(
    state: ExecutionState, message: EngineMessage, now: float, *, position: int = 0, answered_by: str | None = None
) -> Decision:
    """What follows from ``message``: the events to append and what to send once they are stored.

    The events are folded into ``state`` as they are decided, since each is decided on what came before it. So a state
    is ahead of its log until the events are appended, and is thrown away if that fails (or if this raises).

    A message that changes nothing (a duplicate, a late result) gives no events, and the commands it had caused
    before that are still open. ``position`` is the message's place among those applied in the same entry;
    ``answered_by`` is the agent type that a result or a report came from, None for one of the orchestrator's own.

    Raises:
        UnknownExecution: the message is no start, and there has been none.
        Forbidden: it is about a step of another agent type or another agent, or cancels another client's execution.
    """
    cause = cause_of(message)
    if state.status is None and not isinstance(message, Start):
        raise UnknownExecution(state.execution_id)
    if answered_by is not None and isinstance(message, StepResult | StepProgress):
        _check_answer(state, message, answered_by)
    elif isinstance(message, Cancel) and message.client is not None and message.client != state.client:
        raise Forbidden(f"execution {state.execution_id} is not one that client {message.client!r} started")
    turn = _Turn(state, now, cause, position)
    match message:
        case Start():
            if state.status is None:
                turn.record([_started(message)])
            elif state.request_hash != message.request_hash:
                return Decision(conflict=True, cause=cause)
        case StepResult():
            if not state.ended and message.step in state.plan.steps:
                turn.record(kind_of(state, message.step).hear(state, message, now))
        case StepProgress():
            if not state.ended and message.step in state.plan.steps:
                turn.record(kind_of(state, message.step).progress(state, message, now))
        case WakeUp():
            if not state.ended:
                turn.wake(restart=message.restart)
        case Cancel():
            if not state.ended:
                turn.cancel(message.reason)
    turn.settle()
    if not turn.events:
        return _what_it_caused(state, cause)
    return turn.decision()


def _check_answer(state: ExecutionState, message: StepResult | StepProgress, answered_by: str) -> None:
    planned = state.plan.steps.get(message.step)
    if planned is None:
        return
    step, of = planned.definition, f"step {message.step!r} of {state.execution_id}"
    if answered_by != step.agent_type:
        raise Forbidden(f"{of} is for agent type {step.agent_type!r}, not for {answered_by!r}")
    if step.agent_id is not None and message.agent_id != step.agent_id:
        raise Forbidden(f"{of} is for agent {step.agent_id!r}, not for {message.agent_id!r}")


class _Turn:
    """One message being decided."""

    def __init__(self, state: ExecutionState, now: float, cause: str, position: int) -> None:
        self.state = state
        self.now = now
        self.cause = cause
        self.position = position
        self.events: list[Event] = []
        self._woken = False
        self._inputs: dict[str, Inputs] = {}
        self._budget = message_budget()

    def record(self, events: Iterable[Event]) -> None:
        n = self.state.n + 1
        for event in events:
            if self.position:
                # Frozen for those who get it; here it has just been made, and a copy would cost more than the event.
                event.__dict__["cause"] = self.position
            fold(self.state, event, cause=self.cause, n=n, at=self.now)
            self.events.append(event)

    def wake(self, *, restart: bool) -> None:
        self._woken = True
        # What is sent after a restart the bus has not forgotten: the same message once more, from another replica or
        # late, sends nothing under a new deadline that it sent already, and nothing that went out since.
        if restart and self.cause not in self.state.restarted_by:
            # Before leases are looked at: one that ran out while nobody was there says nothing of whoever had the step.
            for step_id in list(self.state.active):
                if self.state.step(step_id).cause != self.cause:
                    self.record(kind_of(self.state, step_id).restart(self.state, step_id, self.now))
        for step_id in self.state.due(self.now):
            self.record(kind_of(self.state, step_id).due(self.state, step_id, self.now))

    def cancel(self, reason: str) -> None:
        for step_id in self.state.plan.steps:
            if not self.state.step(step_id).status.ended:
                self.record([StepCancelled(step=step_id)])
        self.record([ExecutionEnded(status=ExecutionStatus.CANCELLED, reason=reason)])

    def settle(self) -> None:
        """Open or skip whatever is ready, until nothing is; end the execution when every step has ended."""
        state = self.state
        if state.status is not ExecutionStatus.RUNNING:
            return
        while state.ready:
            step_id = next(iter(state.ready))
            budget = self._budget.for_a_step()
            verdict = _verdict(state, step_id, budget)
            if verdict:
                self.record(verdict)
            else:
                self._open(step_id, budget)
        if state.unfinished == 0:
            status = ExecutionStatus.FAILED if state.failed else ExecutionStatus.COMPLETED
            self.record([ExecutionEnded(status=status)])

    def _open(self, step_id: str, budget: Budget) -> None:
        events, inputs = kind_of(self.state, step_id).open(self.state, step_id, self.now, budget)
        self.record(events)
        if inputs is not None:
            self._inputs[step_id] = inputs

    def decision(self) -> Decision:
        state = self.state
        opened = dict.fromkeys(step for event in self.events if (step := getattr(event, "step", None)) is not None)
        if self._woken:
            # Only of a wake-up does a replay find more to do than the first time; what that caused may not be out yet.
            opened |= self.state.active
        commands: list[Command] = []
        for step_id in opened:
            if state.step(step_id).cause == self.cause:
                command = kind_of(state, step_id).command(state, step_id, self._inputs.get(step_id))
                if command is not None:
                    commands.append(command)
        return Decision(events=self.events, commands=commands, ended=state.ended, cause=self.cause)


def _started(start: Start) -> ExecutionStarted:
    return ExecutionStarted(
        definition_hash=start.definition_hash,
        request_hash=start.request_hash,
        workflow_id=start.workflow_id,
        workflow_name=start.workflow_name,
        inputs=start.inputs,
        inputs_ref=start.inputs_ref,
        client=start.client,
        correlation_id=start.correlation_id,
        traceparent=start.traceparent,
    )


def _verdict(state: ExecutionState, step_id: str, budget: Budget) -> list[Event]:
    """Why a ready step is not opened (skipped, or failed by its own condition), or nothing if it is."""
    planned = state.plan.steps[step_id]
    tolerant = planned.definition.on_skipped == "run"
    for needed in planned.needs:
        status = state.step(needed).status
        if status is StepStatus.FAILED or (status is StepStatus.SKIPPED and not tolerant):
            return [StepSkipped(step=step_id, reason=f"{needed} {status.value}")]
    if planned.when is None:
        return []
    try:
        holds = planned.when.holds(StepsView(state), state.inputs or {}, budget)
    except ExpressionError as error:
        return [StepFailed(step=step_id, attempt=0, error=StepError(type="ExpressionError", message=str(error)))]
    return [] if holds else [StepSkipped(step=step_id, reason=f"condition false: {planned.when.source}")]


def _what_it_caused(state: ExecutionState, cause: str) -> Decision:
    mine = [step_id for step_id in state.active if state.step(step_id).cause == cause]
    commands = [command for step_id in mine if (command := kind_of(state, step_id).command(state, step_id))]
    return Decision(commands=commands, ended=state.ended and state.end_cause == cause, cause=cause)
