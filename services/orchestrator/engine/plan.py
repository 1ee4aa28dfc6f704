"""The execution plan: a definition made ready to run, shared by every execution of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.workflow import StepDefinition, WorkflowDefinition
from services.runtime.dependencies import effective_dependencies
from services.runtime.expressions import Expression
from services.runtime.references import CompiledInputs, compile_inputs


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

    @property
    def last_steps(self) -> list[str]:
        """The steps nobody waits for: their outputs are what the workflow is for."""
        return [step_id for step_id in self.steps if not self.dependents[step_id]]


def execution_plan(definition: WorkflowDefinition, limits: Limits) -> Plan:
    """Plan a definition that has passed validation, in time linear in its steps and dependencies."""
    needs = effective_dependencies(definition)
    dependents: dict[str, list[str]] = {step.id: [] for step in definition.steps}
    for step_id, needed in needs.items():
        for other in needed:
            dependents[other].append(step_id)
    by_id = {step.id: step for step in definition.steps}
    planned = {
        step_id: _planned(by_id[step_id], needs[step_id], by_id, limits) for step_id in _ordered(needs, dependents)
    }
    return Plan(
        definition=definition,
        definition_hash=definition.content_hash(),
        steps=planned,
        dependents={step_id: tuple(waiting) for step_id, waiting in dependents.items()},
    )


def _planned(
    step: StepDefinition, needs: tuple[str, ...], by_id: Mapping[str, StepDefinition], limits: Limits
) -> PlannedStep:
    timeout = step.timeout or limits.default_timeout
    return PlannedStep(
        definition=step,
        needs=needs,
        inputs=compile_inputs(step.inputs, by_id),
        when=Expression.parse(step.when) if step.when is not None else None,
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
