"""CEL expressions over ``steps`` and ``inputs``: conditions, and values computed from other steps' outputs.

CEL is the Common Expression Language (https://cel.dev); the library is a Rust implementation. Kept apart from it here:
what is too long or too deep never reaches the parser, an expression that reads a step says which one before anything
runs, and evaluation takes a bounded amount of work and gives the same value each time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cel

from services.runtime.definitions.budget import Budget
from services.runtime.definitions.cel_analysis import analyse
from services.runtime.definitions.cel_evaluation import Evaluation, Failure, Runnables, is_the_librarys
from services.runtime.definitions.cel_syntax import BadExpression, checked_tokens

__all__ = ["BadExpression", "Expression", "ExpressionError"]

ROOTS = frozenset({"steps", "inputs"})
_PARSE_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_SHOWN = 200


class ExpressionError(Exception):
    """An expression gave no value at run time: the message names the expression and the cause."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression.

    ``step_ids`` are the steps it reads, ``variables`` the free variables it names; only ``steps`` and ``inputs`` have
    values when it runs.
    """

    source: str
    step_ids: frozenset[str]
    variables: frozenset[str]
    _runnables: Runnables = field(repr=False, compare=False)

    @classmethod
    def parse(cls, source: str) -> "Expression":
        """Parse an expression.

        Raises:
            BadExpression: bad syntax, too long or too deep, an unknown function, a step that cannot be named before
                the run (``steps[inputs.x]``).
        """
        if source.lstrip().startswith("${"):
            raise BadExpression("here stands the expression itself, without ${ }")
        tokens = checked_tokens(source)
        try:
            program = cel.compile(source)
            analysis = analyse(tokens)
            runnables = Runnables.of(analysis, program)
        except BadExpression:
            raise
        except BaseException as error:
            if not is_the_librarys(error):
                raise
            raise BadExpression(_syntax_message(str(error))) from None
        roots = {path[0] for part in analysis.parts for path in part.reads}
        return cls(source, analysis.step_ids, analysis.variables | roots, runnables)

    @property
    def unknown_variables(self) -> tuple[str, ...]:
        """Free variables that have no value when the expression runs."""
        return tuple(sorted(self.variables - ROOTS))

    def evaluate(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The value, as JSON.

        Parameters:
            steps: step id -> ``{"output": value, "status": "succeeded" | "skipped" | ...}``; only the steps that the
                expression reads are asked for.
            inputs: the execution's inputs.
            budget: what it may take of; without one, as much as a whole step.

        Raises:
            ExpressionError: a missing key, types that do not fit, a division by zero, too much work.
        """
        try:
            return Evaluation(self._runnables, steps, inputs, budget or Budget()).value()
        except Failure as failure:
            raise ExpressionError(f"{shortened(self.source)!r}: {failure}") from None

    def holds(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget | None = None) -> bool:
        """The value of a condition.

        Raises:
            ExpressionError: also where the value is neither true nor false.
        """
        value = self.evaluate(steps, inputs, budget)
        if not isinstance(value, bool):
            raise ExpressionError(
                f"the condition {shortened(self.source)!r} gave {shortened(repr(value))}, not true or false"
            )
        return value


def shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _syntax_message(text: str) -> str:
    found = _PARSE_ERROR.search(text)
    if found is None:
        return shortened(text)
    line, column, message = found.groups()
    where = f"character {column}" if line == "1" else f"line {line}, character {column}"
    return f"{message.split(' expecting {')[0]} at {where}"
