"""Logs as the orchestrator's engine really makes them, driven by hypothesis: results late, lost, doubled and batched,
timers, cancels, progress, and clocks that differ."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from contracts.execution import StepProgress, StepResult, WakeUp
from contracts.history import Event, LogEntry, StepError
from contracts.workflow import WorkflowDefinition
from services.edge.outline import Outline, outline_of
from services.orchestrator.engine import (
    Cancel,
    EngineMessage,
    ExecutionState,
    Limits,
    Start,
    advance,
    execution_plan,
)

T0 = 1_769_851_800.0  # 2026-01-31T09:30:00Z
LIMITS = Limits(default_timeout=5.0, lease=2.0)


@dataclass(frozen=True)
class Made:
    """A log, what its definition says, and a moment after (or, by another clock, a little before) its latest entry."""

    entries: list[LogEntry]
    outline: Outline
    now: float


@st.composite
def definitions(draw: st.DrawFn, most: int = 8) -> dict[str, Any]:
    """Any graph: each step waits for some of those before it."""
    steps: list[dict[str, Any]] = []
    for place in range(draw(st.integers(1, most))):
        before = [step["id"] for step in steps]
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        step = {
            "id": f"s{place}",
            "agent_type": "desk_agent",
            "action": "work",
            "depends_on": needs,
            "on_skipped": draw(st.sampled_from(["skip", "run"])),
            "retry": {
                "max_attempts": draw(st.integers(1, 3)),
                "backoff": draw(st.sampled_from([0.0, 0.5, 2.0])),
            },
        }
        if draw(st.integers(0, 5)) == 0:
            step["when"] = "inputs.no"
        steps.append(step)
    return {"name": "generated", "steps": steps}


@st.composite
def logs(draw: st.DrawFn) -> Made:
    definition = draw(definitions())
    state = ExecutionState("exec-1", execution_plan(WorkflowDefinition.model_validate(definition), LIMITS))
    driver = _Driver(draw, state)
    driver.commit([Start(definition_hash="d", request_hash="r", workflow_name="generated", inputs={"no": False})])
    for _ in range(draw(st.integers(0, 25))):
        if state.ended:
            break
        driver.step()
    return Made(driver.entries, outline_of(definition), driver.at + draw(st.floats(-0.5, 5.0)))


class _Driver:
    def __init__(self, draw: st.DrawFn, state: ExecutionState) -> None:
        self.entries: list[LogEntry] = []
        self.at = T0
        self._draw = draw
        self._state = state
        self._sent: list[tuple[str, int]] = []
        self._made = 0

    def commit(self, messages: list[EngineMessage]) -> None:
        applied: list[str] = []
        events: list[Event] = []
        for message in messages:
            decision = advance(self._state, message, self.at, position=len(applied))
            if decision.events:
                applied.append(decision.cause)
                events += decision.events
                self._sent += [(one.command.step, one.command.attempt) for one in decision.commands]
        if events:
            entry = LogEntry(
                execution_id="exec-1", n=self._state.n + 1, at=self.at, applied=tuple(applied), events=tuple(events)
            )
            self._state.n += 1
            self.entries.append(entry)

    def step(self) -> None:
        """Some time passes, which another orchestrator's clock may not see, and messages come."""
        self.at += self._draw(st.floats(-0.25, 3.0))
        self.commit([self._message() for _ in range(self._draw(st.integers(1, 3)))])

    def _message(self) -> EngineMessage:
        kind = self._draw(st.sampled_from(["result"] * 6 + ["wake", "wake", "restart", "progress", "cancel"]))
        self._made += 1
        match kind:
            case "wake" | "restart":
                due = self._state.wake_at
                if due is not None and kind == "wake":
                    self.at = max(self.at, due)
                return WakeUp(execution_id="exec-1", due=self.at + self._made * 1e-5, restart=kind == "restart")
            case "cancel" if self._draw(st.integers(0, 3)) == 0:
                return Cancel(reason="enough")
            case "progress":
                return self._progress(*self._draw(st.sampled_from(self._sent)))
            case _:
                # An old attempt too: its result may have been lost, or come twice.
                return self._result(*self._draw(st.sampled_from(self._sent)))

    def _result(self, step: str, attempt: int) -> StepResult:
        ok = self._draw(st.integers(0, 2)) > 0
        times = self._draw(st.booleans())
        finished = self.at - self._draw(st.floats(-1.0, 1.0))
        return StepResult(
            result_id=f"r{self._made}",
            execution_id="exec-1",
            step=step,
            attempt=attempt,
            ok=ok,
            output={} if ok else None,
            error=None if ok else StepError(type="Told", message="to fail", retryable=True),
            agent_id="desk-1",
            started_at=finished - self._draw(st.floats(-0.5, 2.0)) if times else None,
            finished_at=finished if times else None,
        )

    def _progress(self, step: str, attempt: int) -> StepProgress:
        return StepProgress(
            execution_id="exec-1",
            step=step,
            attempt=attempt,
            run_id="run",
            number=self._made,
            fraction=0.5,
            agent_id="desk-1",
            at=self.at - self._draw(st.floats(-1.0, 1.0)),
        )
