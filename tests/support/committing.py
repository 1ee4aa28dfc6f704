"""A committer with a store in memory and a bus that notes what is published."""

import asyncio
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from contracts.catalog import MESSAGES
from contracts.envelope import envelope_of
from contracts.execution import RunSteps, StepResult
from contracts.workflow import WorkflowDefinition
from services.orchestrator.committer import Committer
from services.orchestrator.counting import Counting
from services.orchestrator.engine import Limits, Plan, Start, execution_plan
from services.orchestrator.mailbox import Item, Receipt
from services.orchestrator.states import States
from services.runtime.bus.base import BusUnavailable, Frame, UnroutableMessage
from services.runtime.service import Outbox
from services.runtime.telemetry.workflow_metrics import WorkflowMetrics
from tests.support.memory_store import MemoryStore


class NotingBus:
    """Notes what is published; ``refuse`` makes it fail."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.failures: list[Exception] = []
        self.no_queue_for: set[str] = set()

    async def publish(self, frames: Sequence[Frame]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        unroutable = None
        for frame in frames:
            if frame.address.key in self.no_queue_for:
                unroutable = frame
                continue
            self.messages.append(envelope_of(MESSAGES[frame.type]).model_validate_json(frame.body).payload)
        if unroutable is not None:
            raise UnroutableMessage(unroutable.address, unroutable.type)

    def commands(self) -> list[str]:
        return [command.id for run in self.messages if isinstance(run, RunSteps) for command in run.commands]


class NotingDelivery:
    """Notes how it was settled; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.settled: list[str] = []
        self.failures = failures

    async def _settle(self, how: str) -> None:
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("no confirm")
        self.settled.append(how)

    async def ack(self) -> None:
        await self._settle("ack")

    async def retry(self) -> None:
        await self._settle("retry")

    async def dead_letter(self, reason: str, detail: str) -> None:
        await self._settle(reason)


class Plans(dict[str, Plan]):
    async def plan(self, definition_hash: str) -> Plan:
        return self[definition_hash]


class Desk:
    """A committer with everything around it, and a clock that stands still unless it is moved. What it counts is in
    ``registry``; desks with the same store are replicas."""

    def __init__(self, limits: Limits = Limits(), store: MemoryStore | None = None) -> None:  # noqa: B008 - it cannot change
        self.limits = limits
        self.now = 1_000.0
        self.store = store or MemoryStore()
        self.registry = CollectorRegistry()
        counting = Counting(WorkflowMetrics(self.registry))
        self.bus = NotingBus()
        self.plans = Plans()
        self.states = States(self.store, self.plans, on_read=counting.read)  # type: ignore[arg-type]
        outbox = Outbox(self.bus, "test")  # type: ignore[arg-type]
        self.committer = Committer(
            self.store,
            self.states,
            outbox,
            clock=lambda: self.now,
            sleep=lambda _: asyncio.sleep(0),
            counting=counting,
        )

    def plan(self, *step_ids: str, **step: Any) -> Plan:
        steps = [{"agent_type": "a", "action": "do", "id": step_id, **step} for step_id in step_ids]
        plan = execution_plan(WorkflowDefinition.model_validate({"name": "w", "steps": steps}), self.limits)
        self.plans[plan.definition_hash] = plan
        return plan

    def started(self, execution_id: str, plan: Plan, delivery: Any = None, **more: Any) -> Item:
        start = Start(plan.definition_hash, plan.definition_hash, "w")
        return Item(execution_id, start, Receipt(delivery or NotingDelivery(), 1), plan=plan, **more)


def result(execution_id: str, step: str, receipt: Receipt | None = None, place: int = 0) -> Item:
    message = StepResult(result_id=f"{execution_id}{step}", execution_id=execution_id, step=step, attempt=1, ok=True)
    return Item(execution_id, message, receipt or Receipt(None, 1), place=place)
