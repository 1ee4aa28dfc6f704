"""One batch on its way through the committer: what each execution's part of it is, and what follows from that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.execution import ExecutionEndedEvent, StepCommand
from contracts.history import Event, Header, LogEntry, StepError, StepStatus
from services.orchestrator.engine import Command
from services.orchestrator.mailbox import Item, Outcome
from services.orchestrator.states import Held
from services.runtime.envelope_codec import Outgoing


@dataclass(slots=True)
class Work:
    """One execution's part of a batch. In ``entry`` large values are references; they themselves are ``payloads``.
    ``outcomes`` are of those items whose sender is told; ``late`` are results that changed nothing; ``given_up`` are
    the commands, by agent type, that a cancelled execution leaves with agents."""

    held: Held
    items: list[Item] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    ended: bool = False
    woken: bool = False
    outcomes: list[tuple[Item, Outcome]] = field(default_factory=list)
    late: list[Item] = field(default_factory=list)
    entry: LogEntry | None = None
    payloads: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    wake_before: float | None = None
    header: Header | None = None
    ending: Outgoing[ExecutionEndedEvent] | None = None
    given_up: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Recorded:
    """A batch that the log agrees with, to be told and then acked; ``unknown`` are items of executions that never
    started, ``failed`` those that could not be recorded, and why."""

    works: list[Work] = field(default_factory=list)
    unknown: list[Item] = field(default_factory=list)
    failed: tuple[list[Item], Exception] | None = None

    @property
    def items(self) -> list[Item]:
        return [*(item for work in self.works for item in work.items), *self.unknown]

    def add(self, works: list[Work], unknown: list[Item]) -> None:
        self.works += works
        self.unknown += unknown

    def joined_by(self, other: "Recorded") -> "Recorded":
        """Both together: what failed in either has failed."""
        self.add(other.works, other.unknown)
        if other.failed is not None:
            items = [] if self.failed is None else self.failed[0]
            self.failed = ([*items, *other.failed[0]], other.failed[1])
        return self


def never_started(item: Item) -> Outcome:
    return Outcome(item.execution_id, None, None, False, unknown=True)


def not_its_own(item: Item, detail: str) -> Outcome:
    return Outcome(item.execution_id, None, None, False, forbidden=detail)


def failed_attempt(command: StepCommand, error: StepError) -> Item:
    return Item(command.execution_id, command.failed(f"unroutable/{command.id}", error))


def still_open(command: Command, work: Work) -> bool:
    """A later message of the same batch may have closed the step that an earlier one opened."""
    step = work.held.state.step(command.command.step)
    return step.status is StepStatus.RUNNING and step.attempt == command.command.attempt


def header_to_write(work: Work) -> Header | None:
    """The header to write, if it must be: where what is stored is unknown, says another status, would wake too late,
    or has just woken somebody. A chain of steps thus writes two: a later deadline can wait."""
    state, known = work.held.state, work.held.header
    if state.status is None:
        return None
    wake_at = state.wake_at
    if known is not None:
        status, stored_wake = known
        # Sooner than what this replica wrote, or than what another may have written from the same entry.
        sooner = wake_at is not None and any(
            before is None or wake_at < before for before in (stored_wake, work.wake_before)
        )
        if status is state.status and not sooner and not (work.woken and stored_wake != wake_at):
            return None
    return Header(
        execution_id=state.execution_id,
        n=state.n,
        status=state.status,
        workflow_id=state.workflow_id,
        workflow_name=state.plan.definition.name,
        started_at=state.started_at,
        ended_at=state.ended_at,
        wake_at=wake_at,
    )
