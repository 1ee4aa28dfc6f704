"""Running an analysed expression: on just the values it reads, macros one element at a time, within a budget of work.

The library holds the interpreter's lock while it runs and cannot be interrupted: see ``budget``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cel

from services.runtime.definitions.budget import Budget, OutOfWork
from services.runtime.definitions.cel_analysis import HOOK, Analysis, Macro, Part, Path
from services.runtime.definitions.cel_values import CHARACTERS_A_UNIT, ValueFault, to_json, weigh

TOKENS_A_UNIT = 8
# A regular expression is matched in time proportional to the text times the states it may be in: measured, 3 to 5 ns.
STATES_TIMES_CHARACTERS_A_UNIT = 250

Selection = dict[str, Any]  # key -> selection of what is read below it, or None for all of it


class Failure(Exception):
    """Why an expression gave no value."""


@dataclass(frozen=True)
class Runnable:
    """A part of an expression, compiled."""

    part: Part
    program: cel.Program

    @cached_property
    def selection(self) -> Selection:
        return _selection(self.part.reads)

    def work(self, weight: int) -> int:
        """Units to run it on values of a weight: each use copies them, and each ``+`` what was joined so far."""
        part = self.part
        copied = part.uses * (1 + part.additions) * weight
        units = 1 + part.size // TOKENS_A_UNIT + part.match_work + copied
        if part.match_states:
            characters = copied * CHARACTERS_A_UNIT + len(part.text) * (1 + part.additions)
            units += part.match_states * characters // STATES_TIMES_CHARACTERS_A_UNIT
        return units


@dataclass(frozen=True, slots=True)
class RunnableMacro:
    macro: Macro
    bodies: tuple[Runnable, ...]


@dataclass(frozen=True, slots=True)
class Runnables:
    main: Runnable
    macros: tuple[RunnableMacro, ...]

    @classmethod
    def of(cls, analysis: Analysis, whole: cel.Program) -> "Runnables":
        """``whole`` is the expression as it was written: without macros it is run as it is."""

        def compiled(part: Part) -> Runnable:
            return Runnable(part, cel.compile(part.text))

        if not analysis.macros:
            return cls(Runnable(analysis.main, whole), ())
        macros = tuple(RunnableMacro(macro, tuple(map(compiled, macro.bodies))) for macro in analysis.macros)
        return cls(compiled(analysis.main), macros)


@dataclass(slots=True)
class _Frame:
    """Where a macro's body runs: a context of its own, in which each element is set in turn."""

    body: Runnable
    variable: str
    context: cel.Context
    fixed: int
    captured: int = 0


class Evaluation:
    """One evaluation of one expression."""

    def __init__(
        self, runnables: Runnables, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget
    ) -> None:
        self._runnables = runnables
        self._roots = {"steps": steps, "inputs": inputs}
        self._budget = budget
        self._frames: dict[int, tuple[_Frame, ...]] = {}
        self._failure: Failure | OutOfWork | None = None

    def value(self) -> Any:
        """The expression's value, as JSON.

        Raises:
            Failure: saying why there is none.
        """
        main = self._runnables.main
        try:
            context, weight = self._context(main)
            self._budget.spend(main.work(weight))
            result = self._execute(main, context)
            if isinstance(self._failure, OutOfWork):  # it may have been absorbed by || or &&
                raise self._failure
            return to_json(result)
        except (ValueFault, OutOfWork) as fault:
            raise Failure(str(fault)) from None

    def _context(self, runnable: Runnable) -> tuple[cel.Context | dict[str, Any], int]:
        variables = {root: select(self._roots[root], below) for root, below in runnable.selection.items()}
        weight = sum(weigh(value, self._budget.left) for value in variables.values())
        if runnable.part.calls_macros:
            return cel.Context(variables, {HOOK: self._macro}), weight
        return variables, weight

    def _execute(self, runnable: Runnable, context: cel.Context | dict[str, Any]) -> Any:
        try:
            return runnable.program.execute(context)
        except IndexError as error:
            raise self._failure or Failure(str(error)) from None
        except BaseException as error:
            if not is_the_librarys(error):
                raise
            raise Failure(_cause(error, runnable.part.reads, self._roots)) from None

    # ---- macros

    def _macro(self, over: Any, number: int, captured: dict[str, Any]) -> list[Any]:
        """Called by the library: a list of the macro's value, or an empty one where it failed."""
        if isinstance(self._failure, OutOfWork):
            return []
        try:
            return [self._answer(over, number, captured)]
        except (Failure, OutOfWork) as failure:
            self._failure = failure
        except ValueFault as fault:
            self._failure = Failure(str(fault))
        return []

    def _answer(self, over: Any, number: int, captured: dict[str, Any]) -> Any:
        kind = self._runnables.macros[number].macro.kind
        elements = _elements(over, kind)
        frames = self._prepared(number, captured)
        match kind:
            case "all":
                return not self._any(frames[0], elements, False)
            case "exists":
                return self._any(frames[0], elements, True)
            case "exists_one" | "existsOne":
                return sum(self._holds(frames[0], each) for each in elements) == 1
            case "filter":
                return [each for each in elements if self._holds(frames[0], each)]
            case _:
                wanted = elements if len(frames) == 1 else (e for e in elements if self._holds(frames[0], e))
                return [self._mapped(frames[-1], each) for each in wanted]

    def _prepared(self, number: int, captured: dict[str, Any]) -> tuple[_Frame, ...]:
        if number not in self._frames:
            macro = self._runnables.macros[number]
            self._frames[number] = tuple(self._frame(body, macro.macro.variable) for body in macro.bodies)
        frames = self._frames[number]
        weight = sum(weigh(value, self._budget.left) for value in captured.values())
        self._budget.spend(1 + weight)
        for frame in frames:
            frame.captured = weight
            for name, value in captured.items():
                frame.context.add_variable(name, value)
        return frames

    def _frame(self, body: Runnable, variable: str) -> _Frame:
        context, weight = self._context(body)
        if isinstance(context, dict):
            context = cel.Context(context)
        return _Frame(body, variable, context, weight)

    def _run(self, frame: _Frame, element: Any) -> Any:
        weight = frame.fixed + frame.captured + weigh(element, self._budget.left)
        self._budget.spend(frame.body.work(weight))
        frame.context.add_variable(frame.variable, element)
        return self._execute(frame.body, frame.context)

    def _holds(self, frame: _Frame, element: Any) -> bool:
        holds = self._run(frame, element)
        if not isinstance(holds, bool):
            raise Failure(f"the condition of a macro gave {_named(holds)}, not true or false")
        return holds

    def _mapped(self, frame: _Frame, element: Any) -> Any:
        value = self._run(frame, element)
        self._budget.spend(weigh(value, self._budget.left))
        return value

    def _any(self, frame: _Frame, elements: list[Any], wanted: bool) -> bool:
        """Whether the body gives ``wanted`` for any element; as with ``||``, that hides failures of others."""
        failure: Failure | None = None
        for each in elements:
            try:
                if self._holds(frame, each) is wanted:
                    return True
            except Failure as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return False


def select(value: Any, selection: Selection | None) -> Any:
    """The part of a value that is read; what is not there is left out."""
    if selection is None or not isinstance(value, Mapping):
        return dict(value) if isinstance(value, Mapping) and not isinstance(value, dict) else value
    found: dict[str, Any] = {}
    for key, below in selection.items():
        try:
            found[key] = select(value[key], below)
        except KeyError:
            continue
    return found


def _selection(reads: Iterable[Path]) -> Selection:
    root: Selection = {}
    for path in reads:
        node = root
        for key in path[:-1]:
            if node.setdefault(key, {}) is None:
                break
            node = node[key]
        else:
            node[path[-1]] = None
    return root


def _elements(over: Any, kind: str) -> list[Any]:
    if isinstance(over, list):
        return over
    if isinstance(over, dict):
        return sorted(over, key=lambda key: (type(key).__name__, key))
    raise Failure(f"{kind} goes over a list or a map, not over {_named(over)}")


def is_the_librarys(error: BaseException) -> bool:
    """Whether an exception may come out of the library: its panics are no ``Exception``."""
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"


def _cause(error: BaseException, reads: Iterable[Path], roots: Mapping[str, Any]) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if isinstance(error, KeyError):
        told = (why for path in reads if (why := missing(path, roots)) and why[0] == text)
        return next(told, ("", f"there is no key {text!r}"))[1]
    if text.startswith("No such overload"):
        through = (why for path in reads if (why := missing(path, roots)) and why[0] == "")
        types = "an operation or function is not defined for these types; int(), double() and string() convert"
        return next(through, ("", types))[1]
    if text.startswith("Undefined variable or function: "):
        name = text.split("'")[1]
        return f"{name!r} is no variable, and no function that takes these arguments"
    return " ".join(text.split(" CEL does not coerce")[0].split(" Check function arguments")[0].split())


def missing(path: Path, roots: Mapping[str, Any]) -> tuple[str, str] | None:
    """Where a path ends early: the key that is not there ("" if what should hold it is no object), and in words."""
    value: Any = roots
    for at, key in enumerate(path):
        so_far = ".".join(path[:at])
        if not isinstance(value, Mapping):
            return "", f"{so_far} is {_named(value)}, so it has no {key!r}{_skipped(path, roots)}"
        try:
            value = value[key]
        except KeyError:
            return key, f"{so_far} has no {key!r}; {keys_of(value)}"
    return None


def keys_of(value: Mapping[str, Any], most: int = 20) -> str:
    """What there is instead, in words."""
    keys = sorted(map(str, value))
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"it has {', '.join(keys[:most])}{more}" if keys else "it is empty"


def _skipped(path: Path, roots: Mapping[str, Any]) -> str:
    if path[0] == "steps" and roots["steps"][path[1]].get("status") == "skipped":
        return f" (step {path[1]!r} was skipped: ask for steps.{path[1]}.status == 'succeeded' first)"
    return ""


def _named(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a map"}
    return names.get(type(value), f"a {type(value).__name__}")
