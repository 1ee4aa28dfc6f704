"""The client of a round: starts executions straight on the bus, keeps so many open, and checks what comes back."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json

from benchmarks.definitions import definition, payload_of
from benchmarks.flight import Flight, RoundFailed
from benchmarks.rounds import Workload
from contracts import topology
from contracts.envelope import new_id
from contracts.execution import ExecutionCompleted, Refused, StartExecution
from contracts.workflow import CreateWorkflow, WorkflowCreated, content_hash
from services.runtime.bus.base import Bus, BusError, Delivery, Frame
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.requests import ReplyTimeout, Requests
from services.runtime.store.base import Store

NAME = "driver"
SENDER = "edge"  # it stands where the edge does, and sends what only an edge may
STALLED = 60.0  # seconds without a single workflow ending: the round has failed
_READY_WITHIN = 120.0
_ENDS = ("execution.completed", "execution.failed", "execution.cancelled", "command.refused")


class Driver:
    """A service without a queue of its own but for events and replies.

    ``open_store`` gives a store (not started) for reading outputs that were too large for an event.
    """

    name = NAME

    def __init__(self, bus: Bus, open_store: Callable[[], Store]) -> None:
        self.bus = bus
        self._open_store = open_store
        self._requests = Requests(bus, SENDER)
        feed = topology.events_feed(f"{NAME}.{new_id()}.events", *_ENDS)
        bus.subscribe(feed, self._receive, prefetch=1_000)
        self._flight: Flight | None = None
        self._workflow_ids: dict[str, str] = {}
        self._started = asyncio.Event()
        self._publishing: set[asyncio.Task[None]] = set()
        self._due: list[Frame] = []

    async def start(self) -> None:
        await self.bus.start()
        await self._requests.start()
        self._started.set()

    async def stop(self) -> None:
        await self.bus.stop_consuming()
        await self._requests.stop()
        await self.bus.close()

    # ---- what it can be told to do

    async def ready(self, within: float = _READY_WITHIN) -> None:
        """Return once a one-step workflow can be stored and completes.

        Raises:
            RoundFailed: it could not ``within`` that many seconds; with what was said last.
        """
        probe = Workload("probe", "chain", steps=1, workflows=1, in_flight=1)
        said = "nothing"
        deadline = time.monotonic() + within
        await asyncio.wait_for(self._started.wait(), within)
        while time.monotonic() < deadline:
            try:
                await self.prepare(probe)
                await self.run(probe, stalled=5.0)
                return
            except (BusError, ReplyTimeout, RoundFailed) as error:
                said = str(error)
                await asyncio.sleep(0.2)
        raise RoundFailed(f"not ready after {within:.0f} s: {said}")

    async def prepare(self, workload: Workload) -> str:
        """Store the workload's workflow; returns its id."""
        raw = definition(workload)
        workflow_id = f"benchmark-{workload.name}-{content_hash(raw)[:12]}"
        answer = await self._requests.ask(Outgoing(CreateWorkflow(workflow_id=workflow_id, definition=raw)), 30.0)
        if isinstance(answer, Refused):
            faults = "; ".join(f"{fault.path}: {fault.message}" for fault in answer.faults)
            raise RoundFailed(f"workload {workload.name}: {answer.message}: {faults}")
        if not isinstance(answer, WorkflowCreated):
            raise RoundFailed(f"workload {workload.name}: its workflow was answered with {answer.TYPE}")
        self._workflow_ids[workload.name] = workflow_id
        return workflow_id

    async def run(self, workload: Workload, stalled: float = STALLED) -> dict[str, Any]:
        """Run the workflows of a prepared workload, ``in_flight`` at a time.

        Returns ``seconds`` from the first start to the last end, and ``latencies_ms`` of each workflow, from before
        its start is published until its end is heard of.

        Raises:
            RoundFailed: one did not complete, was refused, put out other bytes than it should, or nothing ended for
                ``stalled`` seconds.
        """
        workflow_id = self._workflow_ids[workload.name]
        flight = self._flight = Flight(workload, f"{workload.name}-{new_id()[:12]}")
        begun = time.perf_counter()
        for _ in range(min(workload.in_flight, workload.workflows)):
            self._start_next(flight, workflow_id)
        flight.on_end = lambda: self._start_next(flight, workflow_id)
        await flight.until_over(stalled)
        return {"seconds": flight.last_end - begun, "latencies_ms": flight.latencies_ms}

    async def watch(self, workload: Workload) -> dict[str, str]:
        """Store the workflow and expect executions of it that somebody else starts; all have the same payload."""
        workflow_id = await self.prepare(workload)
        self._flight = Flight(workload, workflow_id=workflow_id)
        return {"workflow_id": workflow_id, "payload": payload_of(0, workload.payload)}

    async def watched(self, count: int) -> dict[str, float]:
        """Wait until ``count`` executions of what is watched have completed; returns when, in epoch seconds."""
        flight = self._current()
        flight.expect(count)
        await flight.until_over(STALLED)
        return {"at": flight.last_end - time.perf_counter() + time.time()}

    async def check(self) -> int:
        """Read the outputs of the last round that were too large for their events, and compare them.

        Returns how many outputs were compared in all.

        Raises:
            RoundFailed: one is missing or is not what it should be.
        """
        flight = self._current()
        if flight.large:
            store = self._open_store()
            await store.start()
            try:
                for number, reference in flight.large:
                    flight.compare(number, (await store.get_payloads([reference])).get(reference))
            finally:
                await store.stop()
            flight.large.clear()
        return flight.compared

    # ---- starting

    def _start_next(self, flight: Flight, workflow_id: str) -> None:
        """Start one more, if there is one. All that are due in one turn of the loop are published together."""
        if flight.begun == flight.workload.workflows:
            return
        execution_id, payload = flight.begin()
        start = StartExecution(execution_id=execution_id, workflow_id=workflow_id, inputs={"payload": payload})
        self._due.append(encode(Outgoing(start), SENDER))
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._publish_due, flight)

    def _publish_due(self, flight: Flight) -> None:
        frames, self._due = self._due, []
        task = asyncio.create_task(self._publish(flight, frames))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, flight: Flight, frames: list[Frame]) -> None:
        try:
            await self.bus.publish(frames)
        except BusError as error:
            flight.fail(f"{len(frames)} starts could not be published: {error}")

    # ---- hearing of ends

    async def _receive(self, delivery: Delivery) -> None:
        heard = time.perf_counter()
        kind, body = delivery.type, delivery.body
        if self._flight is not None:
            self._note(self._flight, kind, from_json(body)["payload"], heard)
        await delivery.ack()

    def _note(self, flight: Flight, kind: str, payload: Mapping[str, Any], heard: float) -> None:
        if kind == Refused.TYPE:
            flight.fail(f"a start was refused: {payload['message']}")
        elif not flight.knows(payload):
            return
        elif kind != ExecutionCompleted.TYPE:
            flight.fail(f"{kind}: {payload['execution_id']}: {payload['errors']}")
        else:
            flight.end(payload["execution_id"], payload["outputs"], heard)

    def _current(self) -> Flight:
        if self._flight is None:
            raise RoundFailed("no round has been run yet")
        return self._flight
