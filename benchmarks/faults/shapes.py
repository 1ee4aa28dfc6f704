"""The workflows of a fault run, and what must become of each step, worked out by hand and not by the engine."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AGENT_TYPE = "fault_agent"
ACTION = "work"
TOLD_TO_FAIL = "ToldToFail"
VARIANTS = 8  # definitions of each shape
STEP_TIMEOUT = 60.0
SUCCEEDED, SKIPPED, FAILED = "succeeded", "skipped", "failed"
ALWAYS = 1_000  # attempts that fail: more than any policy allows


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and its ``outcome``. Its first ``failing`` attempts fail; ``late`` ones after they had their effect."""

    id: str
    needs: Sequence[str] = ()
    outcome: str = SUCCEEDED
    milliseconds: int = 0
    failing: int = 0
    late: bool = False
    max_attempts: int = 1
    when: str | None = None
    tolerant: bool = False

    def definition(self) -> dict[str, Any]:
        inputs = {
            "takes": {needed: f"{needed}.output.value" for needed in self.needs},
            "number": "inputs.number",
            "milliseconds": self.milliseconds,
            "failing": self.failing,
            "late": self.late,
        }
        step: dict[str, Any] = {"id": self.id, "agent_type": AGENT_TYPE, "action": ACTION, "inputs": inputs}
        step |= {"depends_on": list(self.needs), "timeout": STEP_TIMEOUT}
        if self.max_attempts > 1:
            step["retry"] = {"max_attempts": self.max_attempts, "backoff": 0.2, "on": [TOLD_TO_FAIL]}
        if self.when is not None:
            step["when"] = self.when
        if self.tolerant:
            step["on_skipped"] = "run"
        return step

    def expected(self) -> dict[str, Any]:
        return {
            "needs": list(self.needs),
            "outcome": self.outcome,
            "failing": self.failing,
            "effect": self.outcome == SUCCEEDED or (self.outcome == FAILED and self.late),
        }


@dataclass(frozen=True, slots=True)
class Planned:
    """One execution to be started: its definition and inputs, and what must come of it."""

    shape: str
    definition: Mapping[str, Any]
    inputs: Mapping[str, Any]
    status: str
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def planned(seed: int, index: int) -> Planned:
    """The execution number ``index`` of a run: the same for the same seed."""
    rng = random.Random(f"{seed}/execution/{index}")
    shape = rng.choice(list(SHAPES))
    variant = rng.randrange(VARIANTS)
    number = rng.randrange(2)
    steps = SHAPES[shape](random.Random(f"{seed}/{shape}/{variant}"), number)
    definition = {"name": f"{shape} {variant}", "steps": [step.definition() for step in steps]}
    failed = any(step.outcome == FAILED for step in steps)
    return Planned(
        shape,
        definition,
        {"number": number},
        "failed" if failed else "completed",
        {step.id: step.expected() for step in steps},
    )


def _chain(rng: random.Random, number: int) -> list[Step]:
    length = rng.randint(3, 8)
    return [Step(f"s{i}", [f"s{i - 1}"] if i else [], milliseconds=_duration(rng)) for i in range(length)]


def _fan(rng: random.Random, number: int) -> list[Step]:
    middle = [Step(f"p{i}", ["first"], milliseconds=_duration(rng)) for i in range(rng.randint(4, 12))]
    return [Step("first"), *middle, Step("last", [step.id for step in middle])]


def _diamond(rng: random.Random, number: int) -> list[Step]:
    sides = [Step(side, ["top"], milliseconds=_duration(rng)) for side in ("left", "right")]
    return [Step("top"), *sides, Step("bottom", ["left", "right"])]


def _branch(rng: random.Random, number: int) -> list[Step]:
    """By the number that the first step gives, one of two branches is skipped; the join runs all the same."""
    even, odd = (SUCCEEDED, SKIPPED) if number == 0 else (SKIPPED, SUCCEEDED)
    return [
        Step("first", milliseconds=_duration(rng)),
        Step("even", ["first"], even, when="steps.first.output.number == 0"),
        Step("even2", ["even"], even, milliseconds=_duration(rng)),
        Step("odd", ["first"], odd, when="steps.first.output.number == 1", milliseconds=_duration(rng)),
        Step("join", ["even2", "odd"], tolerant=True),
    ]


def _retry(rng: random.Random, number: int) -> list[Step]:
    """The middle one fails at first, before its effect or after it."""
    failing, late = rng.randint(1, 2), rng.random() < 0.5
    middle = Step("b", ["a"], failing=failing, late=late, max_attempts=4, milliseconds=_duration(rng))
    return [Step("a"), middle, Step("c", ["b"])]


def _failing(rng: random.Random, number: int) -> list[Step]:
    """One step never succeeds, and takes what waits for it along; what stands beside it is done all the same."""
    attempts, late = rng.randint(1, 2), rng.random() < 0.5
    return [
        Step("a"),
        Step("b", ["a"], FAILED, failing=ALWAYS, late=late, max_attempts=attempts),
        Step("c", ["b"], SKIPPED),
        Step("d", ["a"], milliseconds=_duration(rng)),
    ]


def _layered(rng: random.Random, number: int) -> list[Step]:
    width = rng.randint(2, 3)
    names = [[f"l{layer}_{i}" for i in range(width)] for layer in range(rng.randint(2, 4))]
    return [
        Step(name, names[layer - 1] if layer else [], milliseconds=_duration(rng))
        for layer, row in enumerate(names)
        for name in row
    ]


def _duration(rng: random.Random) -> int:
    """Milliseconds: mostly none to speak of, now and then long enough to be interrupted."""
    return rng.choice([0, 0, 0, 5, 20, 50, 300])


SHAPES: Mapping[str, Callable[[random.Random, int], list[Step]]] = {
    "chain": _chain,
    "fan": _fan,
    "diamond": _diamond,
    "branch": _branch,
    "retry": _retry,
    "failing": _failing,
    "layered": _layered,
}
