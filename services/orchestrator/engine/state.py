"""The state of one execution, as folded from its log, and a draft of it to decide on."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.history import ExecutionStatus, PayloadRef, StepError, StepStatus
from services.orchestrator.engine.plan import Plan


@dataclass(slots=True)
class StepState:
    """``waiting_on`` counts the dependencies that have not ended; ``deadline`` (epoch seconds) ends the lease of a
    running step and the backoff of a waiting one; ``cause`` and ``cause_n`` are the message and the log entry that
    sent the attempt now open."""

    waiting_on: int
    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    deadline: float | None = None
    lease_resent: bool = False
    restarts: int = 0
    cause: str = ""
    cause_n: int = 0
    output: Any = None
    output_ref: PayloadRef | None = None
    error: StepError | None = None


class ExecutionState:
    """Everything the engine needs to know of an execution. Only ``fold`` changes it.

    ``ready`` holds the pending steps all of whose dependencies have ended. An entry always leaves it empty, because
    what is ready is decided in the same commit that made it ready.
    """

    def __init__(self, execution_id: str, plan: Plan) -> None:
        self.execution_id = execution_id
        self.plan = plan
        self.n = 0
        self.status: ExecutionStatus | None = None
        self.inputs: Any = None
        self.request_hash = ""
        self.workflow_id: str | None = None
        self.correlation_id = ""
        self.started_at = 0.0
        self.ended_at: float | None = None
        self.end_cause = ""
        self.end_n = 0
        self.unfinished = len(plan.steps)
        self.failed = 0
        self.ready: dict[str, None] = {}
        self.active: dict[str, None] = {}
        self._steps = {step_id: StepState(len(planned.needs)) for step_id, planned in plan.steps.items()}
        self._timers: list[tuple[float, str]] = []

    # ---- what fold writes through

    def step(self, step_id: str) -> StepState:
        """The step as it is now, to read."""
        return self._steps[step_id]

    def writable(self, step_id: str) -> StepState:
        """The step as it is now, to change."""
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

    def draft(self) -> "Draft":
        return Draft(self)


class Draft(ExecutionState):
    """A copy-on-write view of a state: a decision is folded into it without touching the state, at a cost that
    follows what the decision changes and not the size of the workflow. It keeps no timers and no set of open steps:
    both are asked of the state itself."""

    def __init__(self, base: ExecutionState) -> None:
        self.__dict__.update(base.__dict__)
        self.ready = dict(base.ready)
        self.active = _Ignored()
        self._base = base
        self._changed: dict[str, StepState] = {}

    def step(self, step_id: str) -> StepState:
        return self._changed.get(step_id) or self._base.step(step_id)

    def writable(self, step_id: str) -> StepState:
        if step_id not in self._changed:
            self._changed[step_id] = replace(self._base.step(step_id))
        return self._changed[step_id]

    def schedule(self, step_id: str, deadline: float) -> None:
        """Deadlines decided now cannot be due now."""


class _Ignored(dict[str, None]):
    """The set of open steps is only read from the state itself, so a draft keeps none."""

    def __setitem__(self, key: str, value: None) -> None:
        pass


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
