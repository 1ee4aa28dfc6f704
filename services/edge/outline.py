"""What a definition says of an execution before anything has happened: its steps, who waits for whom, and which of them
are the last."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache

from contracts.workflow import WorkflowDefinition
from services.runtime.definitions.dependencies import effective_dependencies
from services.runtime.store.base import Store

KEPT_STEPS = 100_000
NEEDS_PER_STEP = 16  # dependencies that take as much room as a step
SMALL = 100  # steps: a larger definition is read in a thread, so that others need not wait


@dataclass(frozen=True, slots=True)
class StepOutline:
    """``needs`` are the steps that it waits for, declared and implied."""

    agent_type: str
    action: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outline:
    """Steps by id in the definition's order; ``last`` are those that no other step waits for."""

    steps: Mapping[str, StepOutline]
    last: frozenset[str]

    @property
    def size(self) -> int:
        """In steps, roughly."""
        needs = sum(len(step.needs) for step in self.steps.values())
        return 1 + len(self.steps) + needs // NEEDS_PER_STEP


NOTHING_KNOWN = Outline({}, frozenset())


def outline_of(definition: Mapping[str, Any]) -> Outline:
    """The outline of a stored definition, which has passed every check."""
    parsed = WorkflowDefinition.model_validate(definition)
    dependencies = effective_dependencies(parsed)
    needed = {step_id for needs in dependencies.values() for step_id in needs}
    return Outline(
        steps={step.id: StepOutline(step.agent_type, step.action, dependencies[step.id]) for step in parsed.steps},
        last=frozenset(step.id for step in parsed.steps if step.id not in needed),
    )


class Outlines:
    """Outlines by definition hash. A definition never changes under its hash, so they are kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: LRUCache[str, Outline] = LRUCache(KEPT_STEPS, getsizeof=lambda outline: outline.size)

    async def get(self, definition_hash: str) -> Outline:
        """The outline; an empty one where the definition is missing, so that the log can still be shown."""
        kept = self._kept.get(definition_hash)
        if kept is not None:
            return kept
        definition = await self._store.get_definition(definition_hash)
        if definition is None:
            return NOTHING_KNOWN
        large = len(definition["steps"]) > SMALL
        outline = await asyncio.to_thread(outline_of, definition) if large else outline_of(definition)
        if outline.size <= self._kept.maxsize:
            self._kept[definition_hash] = outline
        return outline
