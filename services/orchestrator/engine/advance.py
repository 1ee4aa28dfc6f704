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
    Start,
    UnknownExecution,
    cause_of,
)
from services.orchestrator.engine.state import ExecutionState, StepsView
from services.runtime.definitions.expressions import ExpressionError


def advance(state: ExecutionState, message: EngineMessage, now: float, *, position: int = 0) -> Decision:
    """What follows from ``message``: the events to append and what to send once they are stored.

    The events are folded into ``state`` as they are decided, since each is decided on what came before it. So a state
    is ahead of its log until the events are appended, and is thrown away if that fails (or if this raises).

    A message that changes nothing (a duplicate, a late result) gives no events, and the commands it had caused
    before that are still open. ``position`` is the message's place among those applied in the same entry.

    Raises:
        UnknownExecution: the message is no start, and there has been none.
    """
    cause = cause_of(message)
    if state.status is None and not isinstance(message, Start):
        raise UnknownExecution(state.execution_id)
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


class _Turn:
    """One message being decided."""

    def __init__(self, state: ExecutionState, now: float, cause: str, position: int) -> None:
        self.state = state
        self.now = now
        self.cause = cause
        self.position = position
        self.events: list[Event] = []
        self._inputs: dict[str, Inputs] = {}

    def record(self, events: Iterable[Event]) -> None:
        n = self.state.n + 1
        for event in events:
            if self.position:
                # Frozen for those who get it; here it has just been made, and a copy would cost more than the event.
                event.__dict__["cause"] = self.position
            fold(self.state, event, cause=self.cause, n=n, at=self.now)
            self.events.append(event)

    def wake(self, *, restart: bool) -> None:
        for step_id in self.state.due(self.now):
            self.record(kind_of(self.state, step_id).due(self.state, step_id, self.now))
        if restart:
            # A step that this very message sent again already is not sent a second time under a new deadline.
            for step_id in list(self.state.active):
                if self.state.step(step_id).cause != self.cause:
                    self.record(kind_of(self.state, step_id).restart(self.state, step_id, self.now))

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
            verdict = _verdict(state, step_id)
            if verdict:
                self.record(verdict)
            else:
                self._open(step_id)
        if state.unfinished == 0:
            status = ExecutionStatus.FAILED if state.failed else ExecutionStatus.COMPLETED
            self.record([ExecutionEnded(status=status)])

    def _open(self, step_id: str) -> None:
        events, inputs = kind_of(self.state, step_id).open(self.state, step_id, self.now)
        self.record(events)
        if inputs is not None:
            self._inputs[step_id] = inputs

    def decision(self) -> Decision:
        state = self.state
        opened = dict.fromkeys(step for event in self.events if (step := getattr(event, "step", None)) is not None)
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
    )


def _verdict(state: ExecutionState, step_id: str) -> list[Event]:
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
        holds = planned.when.holds(StepsView(state), state.inputs or {})
    except ExpressionError as error:
        return [StepFailed(step=step_id, attempt=0, error=StepError(type="ExpressionError", message=str(error)))]
    return [] if holds else [StepSkipped(step=step_id, reason=f"condition false: {planned.when.source}")]


def _what_it_caused(state: ExecutionState, cause: str) -> Decision:
    mine = [step_id for step_id in state.active if state.step(step_id).cause == cause]
    commands = [command for step_id in mine if (command := kind_of(state, step_id).command(state, step_id))]
    return Decision(commands=commands, ended=state.ended and state.end_cause == cause, cause=cause)
