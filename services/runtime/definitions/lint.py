"""Submit-time validation: every fault of a definition, each with its path, before anything is stored."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from contracts.agents import AgentDescriptor
from contracts.workflow import Fault, StepDefinition, WorkflowDefinition, find_cycle, structure_faults
from services.runtime.definitions.budget import CHECK_WORK, STEP_WORK, Budget
from services.runtime.definitions.definition_reader import Reading, read_definition
from services.runtime.definitions.dependencies import CompiledStep, compile_step
from services.runtime.definitions.expressions import Expression, ExpressionError, shortened
from services.runtime.definitions.input_paths import Key, render_path
from services.runtime.definitions.input_schema import BadSchema, InputSchema, Unknown, partly_known
from services.runtime.definitions.references import BadReference, Location
from services.runtime.definitions.schema_work import one_definition

MAX_CYCLES = 20
MAX_FAULTS = 5_000
_SHOWN_STEPS = 20
_STEP_PATH = re.compile(r"steps\[(\d+)\]")
_HYPHENATED = re.compile(r"steps\.([A-Za-z_]\w*(?:-\w+)+)")
_NO_OUTPUT = re.compile(r"(?:steps\.)?([\w-]+)((?:\.[\w-]+)*)")


@dataclass(frozen=True, slots=True)
class NamedAgents:
    """The agent type of each agent that is registered, by its id, and some ids of a type to show where one is wrong."""

    types: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)


def lint(
    raw: Any, agents: Mapping[str, AgentDescriptor] | None = None, named: NamedAgents | None = None
) -> tuple[WorkflowDefinition | None, list[Fault]]:
    """Check a definition as a user sent it. Never raises for what it holds; linear in its size.

    Parameters:
        raw: the definition as JSON values.
        agents: what each agent type can do; None leaves agent types, actions and their inputs unchecked.
        named: the agents that steps may name; None leaves them unchecked.

    Returns:
        The definition and no faults, or None and every fault, in the order of the steps (the first 5,000 of more).
    """
    reading = read_definition(raw)
    if reading.definition is None:
        return None, first_faults(reading.faults)
    with one_definition():
        found = _Workflow(reading, reading.definition, agents, named).faults()
    unreadable = {fault.path for fault in reading.faults}
    # What cannot be read has a stand-in, of which nothing else should be said.
    faults = [*reading.faults, *(fault for fault in found if not _at_or_below(fault.path, unreadable))]
    if faults:
        return None, first_faults(sorted(faults, key=_place))
    return reading.definition, []


def first_faults(faults: list[Fault]) -> list[Fault]:
    """As many as an answer should hold, and how many there are beside them."""
    if len(faults) <= MAX_FAULTS:
        return faults
    message = f"at least {len(faults) - MAX_FAULTS:,} more faults are not listed"
    return [*faults[:MAX_FAULTS], Fault(path="", code="more_faults", message=message)]


def _at_or_below(path: str, places: set[str]) -> bool:
    return path in places or any(path[: mark.start()] in places for mark in re.finditer(r"[.\[]", path))


def _place(fault: Fault) -> int:
    found = _STEP_PATH.match(fault.path)
    return int(found[1]) if found else -1


class _Workflow:
    def __init__(
        self,
        reading: Reading,
        definition: WorkflowDefinition,
        agents: Mapping[str, AgentDescriptor] | None,
        named: NamedAgents | None,
    ) -> None:
        self.definition = definition
        self.index: dict[str, int] = {}
        for i, step in enumerate(definition.steps):
            self.index.setdefault(step.id, i)
        self._agents = agents
        self._named = named
        self._left_out = reading.left_out
        self._unreadable = {fault.path for fault in reading.faults}
        self._schemas: dict[tuple[str, str], InputSchema] = {}
        # step id -> the steps it waits for, each with the path of what makes it wait
        self._waits: dict[str, dict[str, str]] = {step_id: {} for step_id in self.index}
        # What is constant is evaluated, within one budget.
        self._budget = Budget(CHECK_WORK, "all constant expressions of a definition")

    def faults(self) -> list[Fault]:
        found = structure_faults(self.definition)
        self._declared()
        for i, step in enumerate(self.definition.steps):
            compiled = compile_step(step, self.index)
            found.extend(self._in_condition(i, step, compiled))
            for location in compiled.inputs.locations:
                found.extend(self._at_location(i, step, location))
            if self._agents is not None:
                found.extend(self._of_capability(i, step, compiled, self._agents))
            if self._named is not None and f"steps[{i}].agent_type" not in self._unreadable:
                found.extend(_of_agent(i, step, self._named))
        found.extend(self._cycles())
        return found

    # ---- expressions and references

    def _in_condition(self, i: int, step: StepDefinition, compiled: CompiledStep) -> Iterator[Fault]:
        path = f"steps[{i}].when"
        if compiled.when_problem is not None:
            yield Fault(path=path, code="bad_expression", message=str(compiled.when_problem))
        if (when := compiled.when) is not None:
            yield from self._names(path, step, when.source, sorted(when.step_ids), when.unknown_variables)
            if not when.variables and (problem := self._never_holds(when)):
                yield Fault(path=path, code="bad_condition", message=problem)

    def _at_location(self, i: int, step: StepDefinition, location: Location) -> Iterator[Fault]:
        path = render_path(location.path, f"steps[{i}].inputs")
        if location.problem is not None:
            code = "bad_reference" if isinstance(location.problem, BadReference) else "bad_expression"
            yield Fault(path=path, code=code, message=str(location.problem))
            return
        yield from self._names(path, step, location.source, location.step_ids, location.unknown_variables)
        if location.constant and self._can_evaluate:
            try:
                location.value({}, {}, self._budget.for_a_step())
            except ExpressionError as error:
                yield Fault(path=path, code="bad_expression", message=f"can never have a value: {error}")

    def _names(
        self, path: str, step: StepDefinition, source: str, step_ids: Iterable[str], unknown: Iterable[str]
    ) -> Iterator[Fault]:
        for step_id in step_ids:
            if step_id == step.id:
                message = f"{shortened(source)!r} refers to its own step, which has no output before it has run"
                yield Fault(path=path, code="self_reference", message=message)
            elif step_id in self.index:
                self._waits[step.id].setdefault(step_id, path)
            else:
                message = f"{step_id!r} is no step of this workflow{self._hyphen(source)}; its steps are: {self._known}"
                yield Fault(path=path, code="unknown_step", message=message)
        for name in unknown:
            meant = f"; the step is steps[{name!r}]" if name in self.index else self._hyphen(source)
            message = f"{name!r} is unknown: an expression knows only steps and inputs{meant}"
            yield Fault(path=path, code="unknown_variable", message=message)

    def _hyphen(self, source: str) -> str:
        """CEL reads ``steps.a-b`` as a subtraction."""
        for found in _HYPHENATED.finditer(source):
            if found[1] in self.index:
                return f"; an id with '-' in it is written steps[{found[1]!r}]"
        return ""

    @cached_property
    def _known(self) -> str:
        names = sorted(self.index)
        more = f" and {len(names) - _SHOWN_STEPS} more" if len(names) > _SHOWN_STEPS else ""
        return ", ".join(names[:_SHOWN_STEPS]) + more

    # ---- agents

    def _of_capability(
        self, i: int, step: StepDefinition, compiled: CompiledStep, agents: Mapping[str, AgentDescriptor]
    ) -> Iterator[Fault]:
        agent = agents.get(step.agent_type)
        if agent is None:
            message = f"there is no agent type {step.agent_type!r}; there are: {', '.join(sorted(agents)) or 'none'}"
            yield Fault(path=f"steps[{i}].agent_type", code="unknown_agent_type", message=message)
            return
        capability = agent.capability(step.action)
        if capability is None:
            actions = ", ".join(sorted(each.name for each in agent.capabilities)) or "none"
            message = f"{step.agent_type} has no action {step.action!r}; it has: {actions}"
            yield Fault(path=f"steps[{i}].action", code="unknown_action", message=message)
            return
        name = f"{step.agent_type}.{step.action}"
        schema = self._schemas.get((step.agent_type, step.action))
        if schema is None:
            schema = self._schemas[step.agent_type, step.action] = InputSchema(capability.input_schema)
        try:
            for path, code, message in schema.faults(self._inputs(i, step, compiled)):
                where = render_path(path, f"steps[{i}].inputs")
                hint = self._meant(step, path) if code == "bad_input" else ""
                yield Fault(path=where, code=code, message=f"{message} (inputs of {name}){hint}")
        except BadSchema as error:
            message = f"the input schema that {name} has announced cannot be used: {error}"
            yield Fault(path=f"steps[{i}].action", code="bad_schema", message=message)

    def _meant(self, step: StepDefinition, path: Iterable[Key]) -> str:
        """Where a text that does not fit names a step: how to refer to that step's output."""
        value: Any = step.inputs
        for key in path:
            value = value[key]
        found = _NO_OUTPUT.fullmatch(value) if isinstance(value, str) else None
        if found is None or found[1] not in self.index or found[1] == step.id:
            return ""
        return f"; to refer to step {found[1]!r} write {found[1]}.output{found[2]}"

    def _inputs(self, i: int, step: StepDefinition, compiled: CompiledStep) -> dict[str, Any]:
        """The inputs as far as they are known now."""
        values = [(location.path, self._known_value(location)) for location in compiled.inputs.locations]
        values += [(path, Unknown("", text=False)) for path in self._left_out.get(i, ())]
        return partly_known(step.inputs, values) if values else step.inputs

    # ---- constants

    @property
    def _can_evaluate(self) -> bool:
        """Whether the budget holds what one step may take: beyond it constants are not looked at before they run."""
        return self._budget.left >= STEP_WORK

    def _never_holds(self, when: Expression) -> str | None:
        if not self._can_evaluate:
            return None
        try:
            value = when.evaluate({}, {}, self._budget.for_a_step())
        except ExpressionError as error:
            return f"can never have a value: {error}"
        return None if isinstance(value, bool) else f"is always {shortened(repr(value))}: a condition is true or false"

    def _known_value(self, location: Location) -> Any:
        if location.constant and location.problem is None and self._can_evaluate:
            try:
                return location.value({}, {}, self._budget.for_a_step())
            except ExpressionError:
                return Unknown(location.source, text=False)
        return Unknown(location.source, text=location.kind == "text")

    # ---- the graph

    def _declared(self) -> None:
        for i, step in enumerate(self.definition.steps):
            for j, needed in enumerate(step.depends_on):
                if needed in self.index:
                    self._waits[step.id].setdefault(needed, f"steps[{i}].depends_on[{j}]")
        for step_id, needs in self.definition.dependencies.items():
            for j, needed in enumerate(needs):
                if step_id in self.index and needed in self.index:
                    self._waits[step_id].setdefault(needed, render_path((step_id, j), "dependencies"))

    def _cycles(self) -> Iterator[Fault]:
        """A cycle for each dependency that has to go before the graph has none; the first few of them."""
        waits = {step_id: dict(needed) for step_id, needed in self._waits.items()}
        for _ in range(MAX_CYCLES):
            cycle = find_cycle(waits)
            if cycle is None:
                return
            del waits[cycle[-2]][cycle[-1]]
            yield self._cycle(cycle)
        if find_cycle(waits) is not None:
            message = f"there are more cycles than the {MAX_CYCLES} that are listed"
            yield Fault(path="steps", code="cycle", message=message)

    def _cycle(self, cycle: list[str]) -> Fault:
        ring = cycle[:-1]
        first = min(range(len(ring)), key=lambda at: self.index[ring[at]])
        ring = [*ring[first:], *ring[:first], ring[first]]
        pairs = pairwise(ring)
        chain = " -> ".join(_middle_left_out(ring))
        reasons = "; ".join(_middle_left_out([f"{a} waits for {b} by {self._waits[a][b]}" for a, b in pairs]))
        message = f"these steps wait for each other, so none can begin: {chain} ({reasons})"
        return Fault(path=self._waits[ring[0]][ring[1]], code="cycle", message=message)


def _of_agent(i: int, step: StepDefinition, named: NamedAgents) -> Iterator[Fault]:
    if step.agent_id is None or step.agent_id == step.agent_type:
        return  # whichever is free: that is what the default agent stands for
    kind = named.types.get(step.agent_id)
    if kind == step.agent_type:
        return
    what = f"there is no agent {step.agent_id!r}" if kind is None else f"agent {step.agent_id!r} is of type {kind!r}"
    others = ", ".join(one for one in named.others.get(step.agent_type, ()) if one != step.agent_type) or "none"
    message = f"{what}; agents of type {step.agent_type!r} with an id of their own: {others}"
    yield Fault(path=f"steps[{i}].agent_id", code="unknown_agent", message=message)


def _middle_left_out(texts: list[str], most: int = 20) -> list[str]:
    if len(texts) <= most:
        return texts
    return [*texts[: most - 2], f"... {len(texts) - most + 1} more ...", texts[-1]]
