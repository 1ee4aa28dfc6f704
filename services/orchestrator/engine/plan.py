"""The execution plan: a definition made ready to run, shared by every execution of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.workflow import StepDefinition, WorkflowDefinition
from services.runtime.definitions.dependencies import CompiledStep, compile_steps, dependencies_of
from services.runtime.definitions.expressions import Expression
from services.runtime.definitions.references import CompiledInputs


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: how long a step may run unless it says otherwise, and how long beyond that it may be silent."""

    default_timeout: float = 30.0
    lease: float = 300.0


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its dependencies resolved and its expressions parsed."""

    definition: StepDefinition
    needs: tuple[str, ...]
    inputs: CompiledInputs
    when: Expression | None
    timeout: float
    lease: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which each comes after what it needs, and who waits for whom."""

    definition: WorkflowDefinition
    definition_hash: str
    steps: Mapping[str, PlannedStep]
    dependents: Mapping[str, tuple[str, ...]]
    evaluates: bool = False
    """Whether any step has a condition or an expression, which may take time to evaluate."""

    @property
    def last_steps(self) -> list[str]:
        """The steps nobody waits for: their outputs are what the workflow is for."""
        return [step_id for step_id in self.steps if not self.dependents[step_id]]


def execution_plan(definition: WorkflowDefinition, limits: Limits) -> Plan:
    """Plan a definition that has passed validation, in time linear in its steps and dependencies."""
    compiled = compile_steps(definition)
    needs = dependencies_of(definition, compiled)
    dependents: dict[str, list[str]] = {step.id: [] for step in definition.steps}
    for step_id, needed in needs.items():
        for other in needed:
            dependents[other].append(step_id)
    by_id = {step.id: step for step in definition.steps}
    planned = {
        step_id: _planned(by_id[step_id], compiled[step_id], needs[step_id], limits)
        for step_id in _ordered(needs, dependents)
    }
    return Plan(
        definition=definition,
        definition_hash=definition.content_hash(),
        steps=planned,
        dependents={step_id: tuple(waiting) for step_id, waiting in dependents.items()},
        evaluates=any(step.when is not None or step.inputs.evaluates for step in planned.values()),
    )


def _planned(step: StepDefinition, compiled: CompiledStep, needs: tuple[str, ...], limits: Limits) -> PlannedStep:
    timeout = step.timeout or limits.default_timeout
    return PlannedStep(
        definition=step,
        needs=needs,
        inputs=compiled.inputs,
        when=compiled.when,
        timeout=timeout,
        lease=timeout + limits.lease,
    )


def _ordered(needs: Mapping[str, tuple[str, ...]], dependents: Mapping[str, list[str]]) -> list[str]:
    """Kahn's algorithm; steps that are ready together keep the order of the definition."""
    missing = {step_id: len(needed) for step_id, needed in needs.items()}
    order = [step_id for step_id, count in missing.items() if count == 0]
    for step_id in order:
        for waiting in dependents[step_id]:
            missing[waiting] -= 1
            if missing[waiting] == 0:
                order.append(waiting)
    return order
