"""From what was decided to the messages that say so: batches of commands, and the events of an ending."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from contracts.execution import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionEndedEvent,
    ExecutionFailed,
    RunSteps,
    StepsCancelled,
)
from contracts.history import ExecutionStatus, StepStatus
from services.orchestrator.engine import Command, ExecutionState

WORK_PER_MESSAGE = 0.020  # seconds: long enough to hide a message's cost, short enough to share the work
LARGEST_BATCH = 50
BYTES_PER_MESSAGE = 4 * 1024 * 1024  # RabbitMQ 4 takes 16 MiB; one command alone may have 8
_CANCELLED_TOGETHER = 2_000  # ids of commands in one message
_SMOOTHING = 0.2

_ENDINGS: dict[ExecutionStatus, type[ExecutionEndedEvent]] = {
    ExecutionStatus.COMPLETED: ExecutionCompleted,
    ExecutionStatus.FAILED: ExecutionFailed,
    ExecutionStatus.CANCELLED: ExecutionCancelled,
}


class BatchSizes:
    """How many commands of an action travel in one message: about 20 ms of work by its measured duration, so that
    slow steps travel alone. What has not been measured travels alone too."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], float] = {}

    def observe(self, agent_type: str, action: str, seconds: float) -> None:
        key = (agent_type, action)
        before = self._seconds.get(key, seconds)
        self._seconds[key] = before + _SMOOTHING * (seconds - before)

    def of(self, agent_type: str, action: str) -> int:
        seconds = self._seconds.get((agent_type, action))
        if seconds is None:
            return 1
        return max(1, min(LARGEST_BATCH, int(WORK_PER_MESSAGE / max(seconds, 1e-6))))


def run_messages(commands: Iterable[Command], sizes: BatchSizes) -> list[RunSteps]:
    """Commands that are ready together, as messages of bounded size: one action of one agent type (or named agent)
    each."""
    groups: defaultdict[tuple[str, str, str | None, bool], list[Command]] = defaultdict(list)
    for command in commands:
        groups[command.agent_type, command.action, command.agent_id, command.quarantine].append(command)
    messages: list[RunSteps] = []
    for (agent_type, action, agent_id, quarantine), group in groups.items():
        size = 1 if quarantine else sizes.of(agent_type, action)
        messages += [
            RunSteps(
                agent_type=agent_type,
                action=action,
                agent_id=agent_id,
                quarantine=quarantine,
                commands=tuple(command.command for command in chunk),
            )
            for chunk in _portions(group, size)
        ]
    return messages


def ending(state: ExecutionState) -> ExecutionEndedEvent:
    """The event that tells how an execution ended, with the outputs of its last steps as far as one message goes."""
    assert state.status is not None
    steps = {step_id: state.step(step_id) for step_id in state.plan.steps}
    outputs: dict[str, Any] = {}
    total = 0
    for step_id in state.plan.last_steps:
        step = steps[step_id]
        if step.status is StepStatus.SUCCEEDED:
            value = step.output if step.output_ref is None else step.output_ref.model_dump()
            total += len(to_json(value))
            outputs[step_id] = value if total <= BYTES_PER_MESSAGE else {"left_out": "read it from the execution"}
    return _ENDINGS[state.status](
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        workflow_name=state.plan.definition.name,
        outputs=outputs,
        errors={
            step_id: step.error
            for step_id, step in steps.items()
            if step.status is StepStatus.FAILED and step.error is not None
        },
        started_at=state.started_at,
        ended_at=state.ended_at,
    )


def given_up(state: ExecutionState) -> dict[str, list[str]]:
    """The commands, by agent type, that agents may be at work on though their execution was cancelled: of each step
    that had been sent and had not ended, the latest attempt. Nothing for an execution that ended otherwise."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    if state.status is ExecutionStatus.CANCELLED:
        for step_id, planned in state.plan.steps.items():
            step = state.step(step_id)
            if step.status is StepStatus.CANCELLED and step.attempt:
                found[planned.definition.agent_type].append(f"{state.execution_id}/{step_id}/{step.attempt}")
    return found


def cancel_messages(given_up: Iterable[Mapping[str, Sequence[str]]]) -> list[StepsCancelled]:
    """What hosts are told of commands that were given up: together by agent type."""
    by_type: defaultdict[str, list[str]] = defaultdict(list)
    for command_ids in given_up:
        for agent_type, some in command_ids.items():
            by_type[agent_type] += some
    return [
        StepsCancelled(agent_type=agent_type, command_ids=tuple(ids[start : start + _CANCELLED_TOGETHER]))
        for agent_type, ids in by_type.items()
        for start in range(0, len(ids), _CANCELLED_TOGETHER)
    ]


def _portions(commands: Iterable[Command], most: int) -> list[list[Command]]:
    portions: list[list[Command]] = [[]]
    total = 0
    for command in commands:
        if portions[-1] and (len(portions[-1]) == most or total + command.size > BYTES_PER_MESSAGE):
            portions.append([])
            total = 0
        portions[-1].append(command)
        total += command.size
    return portions
