"""The engine: pure functions from a state and a message to events and commands. No I/O, no clock, no randomness.

``advance`` decides, ``fold`` records. What ``fold`` makes of a log is exactly the state from which ``advance``
decided, so a crash anywhere costs nothing but the reading of the log.
"""

from services.orchestrator.engine.advance import advance
from services.orchestrator.engine.fold import fold, fold_entry
from services.orchestrator.engine.messages import Cancel, Command, Decision, EngineMessage, Start, UnknownExecution
from services.orchestrator.engine.plan import Limits, Plan, execution_plan
from services.orchestrator.engine.state import ExecutionState, StepState

__all__ = [
    "Cancel",
    "Command",
    "Decision",
    "EngineMessage",
    "ExecutionState",
    "Limits",
    "Plan",
    "Start",
    "StepState",
    "UnknownExecution",
    "advance",
    "execution_plan",
    "fold",
    "fold_entry",
]
