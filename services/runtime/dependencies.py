"""Who waits for whom: what a definition declares, and what its references and conditions imply."""

from collections.abc import Collection
from dataclasses import dataclass

from contracts.workflow import StepDefinition, WorkflowDefinition
from services.runtime.expressions import BadExpression, Expression
from services.runtime.references import CompiledInputs, compile_inputs


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


def effective_dependencies(definition: WorkflowDefinition) -> dict[str, tuple[str, ...]]:
    """Step id -> ids it waits for: those declared, then those that its inputs and its condition name.

    In time linear in the definition's size. Steps keep the definition's order.

    Raises:
        BadExpression: a condition that cannot be parsed; the definition was never validated.
    """
    declared = definition.declared_dependencies()
    found: dict[str, tuple[str, ...]] = {}
    for step in definition.steps:
        compiled = compile_step(step, declared.keys())
        if compiled.when_problem is not None:
            raise compiled.when_problem
        found[step.id] = tuple(dict.fromkeys((*declared[step.id], *compiled.implied)))
    return found
