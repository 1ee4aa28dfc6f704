"""Definitions: checked, planned, stored once by their content hash."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cachetools import LRUCache

from contracts import topology
from contracts.execution import Refused
from contracts.topology import Queue
from contracts.workflow import Fault, WorkflowDefinition, content_hash
from services.orchestrator.catalogue import Catalogue
from services.orchestrator.engine import Limits, Plan, execution_plan
from services.runtime.definitions.lint import lint
from services.runtime.service import Refusal
from services.runtime.store.base import Store

PLANNED_STEPS = 200_000  # how many steps' plans are kept
# A larger definition is checked and planned in a thread, so that others need not wait.
SMALL = 100  # steps
SMALL_VALUES = 3_000
_MISSING = frozenset({"unknown_agent_type", "unknown_action"})
_AGENT_FAULTS = _MISSING | {"unknown_agent"}
_STEP_PATH = re.compile(r"steps\[(\d+)\]")


class MissingDefinition(LookupError):
    """A log or a workflow refers to a definition that the store does not have."""


class Definitions:
    """Gives plans: of definitions that come in, after all checks, and of stored ones, by their hash.

    Planning a definition also declares the queues of its agent types, so that work for an agent that is not up yet
    waits for it.
    """

    def __init__(
        self, store: Store, catalogue: Catalogue, limits: Limits, declare: Callable[[Queue], Awaitable[None]]
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._limits = limits
        self._declare = declare
        self._plans: LRUCache[str, Plan] = LRUCache(PLANNED_STEPS, getsizeof=lambda plan: len(plan.steps))
        self._accepted: LRUCache[str, str] = LRUCache(10_000)
        self._declared: set[str] = set()

    async def accept(self, raw: Mapping[str, Any]) -> Plan:
        """Check a definition as a user sent it, store it, and plan it.

        Raises:
            Refusal: with every fault and its path.
        """
        raw_hash = content_hash(raw)
        known = self._accepted.get(raw_hash)
        if known is not None:
            return await self.plan(known)
        definition, faults = await self._check(raw)
        if definition is None or faults:
            message = f"the definition has {len(faults)} fault{'s' if len(faults) != 1 else ''}"
            raise Refusal(Refused(code="invalid", message=message, faults=tuple(faults)))
        plan = await self._planned(definition)
        await self._store.put_definition(plan.definition_hash, definition.model_dump(mode="json"))
        self._accepted[raw_hash] = plan.definition_hash
        return plan

    async def plan(self, definition_hash: str) -> Plan:
        """The plan of a stored definition.

        Raises:
            MissingDefinition: there is none, though something refers to it.
        """
        plan = self._plans.get(definition_hash)
        if plan is None:
            stored = await self._store.get_definition(definition_hash)
            if stored is None:
                raise MissingDefinition(f"definition {definition_hash} is not in the store")
            plan = await self._planned(WorkflowDefinition.model_validate(stored))
        return plan

    async def _check(self, raw: Mapping[str, Any]) -> tuple[WorkflowDefinition | None, list[Fault]]:
        definition, faults = await self._lint(raw, fresh=False)
        if any(fault.code in _AGENT_FAULTS for fault in faults):
            # An agent may have announced itself since the catalogue was read.
            definition, faults = await self._lint(raw, fresh=True)
        return None if definition is None else _without_default_agents(definition), self._explained(faults, raw)

    def _explained(self, faults: list[Fault], raw: Mapping[str, Any]) -> list[Fault]:
        """The faults, where a type or an action is missing with the reason, if hosts or the registry say one."""
        return [self._with_reason(fault, raw) if fault.code in _MISSING else fault for fault in faults]

    def _with_reason(self, fault: Fault, raw: Mapping[str, Any]) -> Fault:
        found = _STEP_PATH.match(fault.path)
        if found is None:
            return fault
        step = raw["steps"][int(found[1])]
        action = step["action"] if fault.code == "unknown_action" else None
        why = self._catalogue.why_missing(step["agent_type"], action)
        return fault.model_copy(update={"message": f"{fault.message}. {why}"}) if why else fault

    async def _lint(self, raw: Mapping[str, Any], *, fresh: bool) -> tuple[WorkflowDefinition | None, list[Fault]]:
        agents = await self._catalogue.agents(fresh=fresh)
        wanted = _named_in(raw)
        others_of = {agent_type for _, agent_type in wanted if agent_type in agents} if fresh else ()
        named = await self._catalogue.named({agent_id for agent_id, _ in wanted}, others_of=others_of)
        return await asyncio.to_thread(lint, raw, agents, named) if _is_large(raw) else lint(raw, agents, named)

    async def _planned(self, definition: WorkflowDefinition) -> Plan:
        if len(definition.steps) > SMALL or _is_large(definition.model_dump()):
            plan = await asyncio.to_thread(execution_plan, definition, self._limits)
        else:
            plan = execution_plan(definition, self._limits)
        for agent_type in {step.agent_type for step in definition.steps} - self._declared:
            await self._declare(topology.agent_type_queue(agent_type))
            await self._declare(topology.agent_quarantine_queue(agent_type))
            self._declared.add(agent_type)
        self._plans[plan.definition_hash] = plan
        return plan


def _is_large(raw: Mapping[str, Any]) -> bool:
    """Whether it holds more than is looked at in a few milliseconds."""
    left = SMALL_VALUES
    level: list[Any] = [raw]
    while level and left > 0:
        left -= len(level)
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below.extend(value.values())
            elif isinstance(value, list | tuple):
                below.extend(value)
            elif isinstance(value, str):
                # Each expression in a text takes as long as many values.
                left -= len(value) // 100 + 20 * value.count("${")
        level = below
    return left <= 0


def _named_in(raw: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The agents that steps name and the types they should be of, as far as both can be read."""
    steps = raw.get("steps")
    found = [
        (step.get("agent_id"), step.get("agent_type"))
        for step in (steps if isinstance(steps, list) else ())
        if isinstance(step, Mapping)
    ]
    return {
        (agent_id, agent_type)
        for agent_id, agent_type in found
        if isinstance(agent_id, str) and isinstance(agent_type, str) and agent_id != agent_type
    }


def _without_default_agents(definition: WorkflowDefinition) -> WorkflowDefinition:
    """A step that names its type's default agent is for whichever agent of the type is free."""
    if all(step.agent_id != step.agent_type for step in definition.steps):
        return definition
    steps = tuple(
        step.model_copy(update={"agent_id": None}) if step.agent_id == step.agent_type else step
        for step in definition.steps
    )
    return definition.model_copy(update={"steps": steps})
