"""The engine: from a state and a message to events and commands. No I/O, no clock, no randomness.

``advance`` decides, and folds what it decides into the state; ``fold_entry`` does the same with an entry of a log. What
a log folds to is exactly the state that ``advance`` left, so a crash anywhere costs nothing but the reading of the log.
"""

from services.orchestrator.engine.advance import advance
from services.orchestrator.engine.fold import fold_entry
from services.orchestrator.engine.messages import (
    Cancel,
    Command,
    Decision,
    EngineMessage,
    Forbidden,
    Start,
    UnknownExecution,
)
from services.orchestrator.engine.plan import Limits, Plan, execution_plan
from services.orchestrator.engine.state import ExecutionState, StepState

__all__ = [
    "Cancel",
    "Command",
    "Decision",
    "EngineMessage",
    "ExecutionState",
    "Forbidden",
    "Limits",
    "Plan",
    "Start",
    "StepState",
    "UnknownExecution",
    "advance",
    "execution_plan",
    "fold_entry",
]
