"""Stored workflows: a definition under an id of its own. The orchestrator is their only writer."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from cachetools import TTLCache

from contracts.execution import Refused
from contracts.workflow import CreateWorkflow, DeleteWorkflow, Workflow, WorkflowCreated, WorkflowDeleted
from services.orchestrator.definitions import Definitions
from services.orchestrator.engine import Plan
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received, Refusal
from services.runtime.store.base import Store

_KNOWN_FOR = 2.0  # seconds a stored workflow is taken as still there without asking


class Workflows:
    def __init__(self, store: Store, definitions: Definitions, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._definitions = definitions
        self._clock = clock
        self._known: TTLCache[str, str] = TTLCache(10_000, ttl=_KNOWN_FOR)

    async def create(self, received: Received[CreateWorkflow]) -> Iterable[Outgoing[Any]]:
        """Store a definition that passes every check. Creating the same again is no error; another under the same
        id is."""
        message = received.message
        plan = await self._definitions.accept(message.definition)
        workflow = Workflow(
            workflow_id=message.workflow_id,
            name=plan.definition.name,
            description=plan.definition.description,
            definition_hash=plan.definition_hash,
            created_at=self._clock(),
            steps=len(plan.steps),
        )
        if not await self._store.put_workflow(workflow):
            stored = await self._store.get_workflow(message.workflow_id)
            if stored is None or stored.definition_hash != workflow.definition_hash:
                text = f"there is already another workflow {message.workflow_id!r}"
                raise Refusal(Refused(code="already_exists", subject=message.workflow_id, message=text))
            workflow = stored
        return _told(received, WorkflowCreated(workflow=workflow))

    async def delete(self, received: Received[DeleteWorkflow]) -> Iterable[Outgoing[Any]]:
        workflow_id = received.message.workflow_id
        self._known.pop(workflow_id, None)
        if not await self._store.delete_workflow(workflow_id):
            raise Refusal(_not_found(workflow_id))
        return _told(received, WorkflowDeleted(workflow_id=workflow_id))

    async def plan(self, workflow_id: str) -> Plan:
        """The plan of a stored workflow.

        Raises:
            Refusal: there is none of that id.
        """
        definition_hash = self._known.get(workflow_id)
        if definition_hash is None:
            workflow = await self._store.get_workflow(workflow_id)
            if workflow is None:
                raise Refusal(_not_found(workflow_id))
            definition_hash = self._known[workflow_id] = workflow.definition_hash
        return await self._definitions.plan(definition_hash)


def _not_found(workflow_id: str) -> Refused:
    return Refused(code="not_found", subject=workflow_id, message=f"there is no workflow {workflow_id!r}")


def _told(received: Received[Any], message: WorkflowCreated | WorkflowDeleted) -> list[Outgoing[Any]]:
    told = [received.follow(message)]
    return [received.reply(message), *told] if received.wants_reply else told
