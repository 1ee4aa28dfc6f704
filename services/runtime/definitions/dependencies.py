"""Who waits for whom: what a definition declares, and what its references and conditions imply."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from contracts.workflow import StepDefinition, WorkflowDefinition
from services.runtime.definitions.expressions import BadExpression, Expression
from services.runtime.definitions.references import CompiledInputs, compile_inputs


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step with its references found and its condition parsed; ``when_problem`` is set where that was impossible."""

    inputs: CompiledInputs
    when: Expression | None
    when_problem: BadExpression | None = None

    @property
    def implied(self) -> tuple[str, ...]:
        """The steps that inputs and condition name, in order and without repeats."""
        in_inputs = (step_id for location in self.inputs.locations for step_id in location.step_ids)
        in_when = sorted(self.when.step_ids) if self.when else ()
        return tuple(dict.fromkeys((*in_inputs, *in_when)))


def compile_step(step: StepDefinition, step_ids: Collection[str]) -> CompiledStep:
    """Never raises for what a user wrote: ``step_ids``, a set or mapping, are the steps of the workflow."""
    inputs = compile_inputs(step.inputs, step_ids)
    if step.when is None:
        return CompiledStep(inputs, None)
    try:
        return CompiledStep(inputs, Expression.parse(step.when))
    except BadExpression as problem:
        return CompiledStep(inputs, None, problem)


def compile_steps(definition: WorkflowDefinition) -> dict[str, CompiledStep]:
    """Every step of a definition that has passed validation, by id, in the definition's order.

    Raises:
        BadExpression: a condition that cannot be parsed; the definition was never validated.
    """
    step_ids = {step.id for step in definition.steps}
    compiled = {step.id: compile_step(step, step_ids) for step in definition.steps}
    for step in compiled.values():
        if step.when_problem is not None:
            raise step.when_problem
    return compiled


def dependencies_of(definition: WorkflowDefinition, compiled: Mapping[str, CompiledStep]) -> dict[str, tuple[str, ...]]:
    """Step id -> ids it waits for: those declared, then those that its inputs and its condition name."""
    declared = definition.declared_dependencies()
    return {step_id: tuple(dict.fromkeys((*declared[step_id], *step.implied))) for step_id, step in compiled.items()}


def effective_dependencies(definition: WorkflowDefinition) -> dict[str, tuple[str, ...]]:
    """The same for a definition that is not compiled yet; in time linear in its size."""
    return dependencies_of(definition, compile_steps(definition))
