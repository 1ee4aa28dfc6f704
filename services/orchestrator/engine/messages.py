"""What the engine is told and what it answers."""

from dataclasses import dataclass, field
from typing import Any

from contracts.execution import StepCommand, StepProgress, StepResult, WakeUp
from contracts.history import Event, PayloadRef


class UnknownExecution(Exception):
    """A message for an execution whose start was never stored."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"no execution {execution_id!r} has been started")
        self.execution_id = execution_id


class Forbidden(Exception):
    """Not for its sender to say: a result or a report of a step by another agent than the step's, or a client's cancel
    of an execution that is not its own."""


@dataclass(frozen=True, slots=True)
class Start:
    """A start that has passed validation. ``request_hash`` is the identity of its body."""

    definition_hash: str
    request_hash: str
    workflow_name: str
    workflow_id: str | None = None
    inputs: Any = None
    inputs_ref: PayloadRef | None = None
    client: str = ""
    correlation_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """``client``: who may cancel only what it started itself; None may cancel everything."""

    reason: str = ""
    client: str | None = None


EngineMessage = Start | Cancel | StepResult | StepProgress | WakeUp


def cause_of(message: EngineMessage) -> str:
    """The identity of a message across redeliveries: what makes a replay send again what it caused."""
    match message:
        case Start():
            return "start"
        case Cancel():
            return "cancel"
        case StepResult():
            return message.result_id
        case StepProgress():
            return message.id
        case WakeUp():
            return f"{'restart' if message.restart else 'wake'}:{message.due:.6f}"


@dataclass(slots=True)
class Command:
    """A step command and whom it is for. ``entry_n`` is the log entry that decided to send it, ``size`` the bytes of
    its inputs as JSON."""

    command: StepCommand
    agent_type: str
    action: str
    agent_id: str | None
    entry_n: int
    size: int
    quarantine: bool = False


@dataclass(slots=True)
class Decision:
    """What follows from a message.

    No ``events`` means it changed nothing; ``commands`` and ``ended`` then hold what it had caused before, for the
    case that whoever applied it first died before sending. ``conflict`` marks a start under a used id with another
    body.
    """

    events: list[Event] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    ended: bool = False
    conflict: bool = False
    cause: str = ""
