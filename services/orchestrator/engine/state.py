"""The state of one execution, as folded from its log."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.history import ExecutionStatus, PayloadRef, StepError, StepStatus
from contracts.topology import shard_key
from services.orchestrator.engine.plan import Plan


@dataclass(slots=True)
class StepState:
    """``waiting_on`` counts the dependencies that have not ended; ``deadline`` (epoch seconds) ends the lease of a
    running step and the backoff of a waiting one; ``cause`` and ``cause_n`` are the message and the log entry that
    sent the attempt now open; ``sent_at`` is when each attempt was decided upon (epoch seconds); ``reported`` is the
    number of the latest report of progress, by run of that attempt."""

    waiting_on: int
    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    deadline: float | None = None
    lease_resent: bool = False
    restarts: int = 0
    cause: str = ""
    cause_n: int = 0
    sent_at: tuple[float, ...] = ()
    output: Any = None
    output_ref: PayloadRef | None = None
    error: StepError | None = None
    reported: dict[str, int] | None = None


class ExecutionState:
    """Everything the engine needs to know of an execution. Only ``fold`` changes it; ``reply_key`` and ``traced``
    (whether attempts have spans of their own) are for whoever asks the engine to say.

    ``ready`` holds the pending steps all of whose dependencies have ended. An entry always leaves it empty, because
    what is ready is decided in the same commit that made it ready. ``restarted_by`` are the messages that had running
    steps sent again because the bus had forgotten them.
    """

    def __init__(self, execution_id: str, plan: Plan) -> None:
        self.execution_id = execution_id
        self.plan = plan
        self.reply_key = shard_key(execution_id)
        self.n = 0
        self.status: ExecutionStatus | None = None
        self.inputs: Any = None
        self.request_hash = ""
        self.client = ""
        self.workflow_id: str | None = None
        self.correlation_id = ""
        self.traceparent = ""
        self.traced = False
        self.started_at = 0.0
        self.ended_at: float | None = None
        self.end_cause = ""
        self.end_n = 0
        self.unfinished = len(plan.steps)
        self.failed = 0
        self.ready: dict[str, None] = {}
        self.active: dict[str, None] = {}
        self.restarted_by: set[str] = set()
        self._steps = {step_id: StepState(len(planned.needs)) for step_id, planned in plan.steps.items()}
        self._timers: list[tuple[float, str]] = []

    def step(self, step_id: str) -> StepState:
        return self._steps[step_id]

    def schedule(self, step_id: str, deadline: float) -> None:
        heapq.heappush(self._timers, (deadline, step_id))

    # ---- what the engine and the committer ask

    @property
    def ended(self) -> bool:
        return self.status is not None and self.status.ended

    @property
    def wake_at(self) -> float | None:
        """The earliest deadline of an open step, None once the execution has ended. May be early, never late."""
        if self.ended:
            return None
        while self._timers and not self._still_due(*self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def due(self, now: float) -> list[str]:
        """The open steps whose deadline is at or before ``now``. Walks only the due part of the heap."""
        found: list[tuple[float, str]] = []
        unvisited = [0]
        while unvisited:
            i = unvisited.pop()
            if i < len(self._timers) and self._timers[i][0] <= now:
                unvisited += (2 * i + 1, 2 * i + 2)
                if self._still_due(*self._timers[i]):
                    found.append(self._timers[i])
        return list(dict.fromkeys(step_id for _, step_id in sorted(found)))

    def _still_due(self, deadline: float, step_id: str) -> bool:
        return self._steps[step_id].deadline == deadline


@dataclass(frozen=True, slots=True)
class StepsView(Mapping[str, Mapping[str, Any]]):
    """The steps as references and expressions see them: ``steps.ID.output`` and ``steps.ID.status``."""

    state: ExecutionState = field(repr=False)

    def __getitem__(self, step_id: str) -> Mapping[str, Any]:
        step = self.state.step(step_id)
        return {"output": step.output, "status": step.status.value}

    def __iter__(self) -> Iterator[str]:
        return iter(self.state.plan.steps)

    def __len__(self) -> int:
        return len(self.state.plan.steps)
