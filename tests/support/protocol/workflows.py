"""Small random workflows with conditions, retries, tolerance and poison, and what the graph says of them."""

import random
from dataclasses import dataclass
from typing import Any

from contracts.workflow import RetryPolicy, StepDefinition, WorkflowDefinition

MODULUS = 3


@dataclass(frozen=True)
class Traits:
    """How a step behaves when it runs: chances of failing and of being slow, and whether it kills its host."""

    fails: float
    slow: float
    poison: bool


def random_workflow(rng: random.Random) -> tuple[WorkflowDefinition, dict[str, Traits]]:
    steps: list[StepDefinition] = []
    traits: dict[str, Traits] = {}
    for i in range(rng.choice([1, 2, 3, 3, 4, 5, 6])):
        needs = [f"s{j}" for j in sorted(rng.sample(range(i), min(i, rng.choice([0, 1, 1, 2, 2, 3]))))]
        conditional = bool(needs) and rng.random() < 0.4
        steps.append(
            StepDefinition(
                id=f"s{i}",
                agent_type="worker",
                action="work",
                inputs={needed: f"{needed}.output" for needed in needs},
                depends_on=tuple(needs),
                timeout=rng.choice([6, 12, 40]),
                retry=RetryPolicy(
                    max_attempts=rng.choice([1, 2, 3]), backoff=rng.choice([0, 3, 8]), multiplier=1, jitter=0.2
                ),
                when=_condition(needs[0]) if conditional else None,
                on_skipped=rng.choice(["skip", "skip", "run"]),
            )
        )
        traits[f"s{i}"] = Traits(rng.choice([0, 0, 0.3]), rng.choice([0, 0.2, 0.4]), rng.random() < 0.05)
    return WorkflowDefinition(name="random", steps=tuple(steps)), traits


def _condition(needed: str) -> str:
    return f"steps.{needed}.status == 'skipped' || steps.{needed}.output.value % {MODULUS} != 0"


def verdict(step: StepDefinition, statuses: dict[str, str], outputs: dict[str, Any]) -> str:
    """``run`` or ``skip``, worked out here by hand and not by the engine."""
    for needed in step.depends_on:
        if statuses[needed] == "failed" or (statuses[needed] != "succeeded" and step.on_skipped == "skip"):
            return "skip"
    if step.when is not None:
        (first, *_) = step.depends_on
        if statuses[first] != "skipped" and outputs[first]["value"] % MODULUS == 0:
            return "skip"
    return "run"
