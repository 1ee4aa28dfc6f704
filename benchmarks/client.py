"""A client straight on the broker: it starts executions at a rate or so many at a time, and hears of every end."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from pydantic_core import from_json

from benchmarks.definitions import definition, payload_of
from benchmarks.flight import RoundFailed
from benchmarks.rounds import Workload
from contracts import topology
from contracts.envelope import new_id
from contracts.execution import ExecutionCompleted, Refused, StartExecution
from contracts.workflow import CreateWorkflow, WorkflowCreated
from services.runtime.bus.base import Bus, BusUnavailable, Delivery
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.requests import ReplyTimeout, Requests

NAME = "benchmark-client"
_ENDS = ("execution.completed", "execution.failed", "execution.cancelled", "command.refused")
_READY_WITHIN = 120.0
_TICK = 0.02


class Client:
    """``ends`` says when each execution ended (epoch seconds), ``outcomes`` how many ended how, ``published`` when each
    start of ours was sent."""

    def __init__(self, bus: Bus) -> None:
        self.ends: dict[str, float] = {}
        self.outcomes: Counter[str] = Counter()
        self.published: dict[str, float] = {}
        self.on_end: Callable[[str], None] = lambda _: None
        self._bus = bus
        self._requests = Requests(bus, NAME)
        bus.subscribe(topology.events_feed(f"{NAME}.{new_id()}.events", *_ENDS), self._receive, prefetch=1_000)

    async def __aenter__(self) -> "Client":
        await self._bus.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._bus.stop_consuming()
        await self._requests.stop()
        await self._bus.close()

    async def store_workflow(self, workload: Workload) -> str:
        """Store the workload's workflow as soon as its agents are known; returns its id.

        Raises:
            RoundFailed: it is refused for more than two minutes.
        """
        workflow_id = f"benchmark-{workload.name}"
        command = CreateWorkflow(workflow_id=workflow_id, definition=definition(workload))
        deadline = time.monotonic() + _READY_WITHIN
        said = "nothing"
        while time.monotonic() < deadline:
            try:
                answer = await self._requests.ask(Outgoing(command), 10.0)
            except (ReplyTimeout, BusUnavailable) as error:
                said = repr(error)
            else:
                if isinstance(answer, WorkflowCreated):
                    return workflow_id
                said = answer.message if isinstance(answer, Refused) else answer.TYPE
            await asyncio.sleep(0.2)
        raise RoundFailed(f"the workflow could not be stored: {said}")

    async def start(self, workflow_id: str, count: int, payload: int) -> list[str]:
        """Start so many, in one batch and without asking for replies; returns their ids."""
        ids = [f"exec-{new_id()}" for _ in range(count)]
        inputs = {"payload": payload_of(0, payload)}
        now = time.time()
        self.published |= dict.fromkeys(ids, now)
        starts = [StartExecution(execution_id=key, workflow_id=workflow_id, inputs=inputs) for key in ids]
        await self._bus.publish([encode(Outgoing(start), NAME) for start in starts])
        return ids

    async def start_at_rate(self, workflow_id: str, rate: float, seconds: float, payload: int) -> int:
        """Start ``rate`` a second for so long, whatever becomes of them; returns how many that were. Where the broker
        does not confirm as fast, it is fewer."""
        began, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < seconds:
            due = min(int(elapsed * rate) - sent, max(1, int(rate)))
            if due > 0:
                await self.start(workflow_id, due, payload)
                sent += due
            await asyncio.sleep(_TICK)
        return sent

    async def capacity(self, workflow_id: str, seconds: float, in_flight: int, payload: int) -> float:
        """Executions a second, with so many open all the time, over the last two thirds of ``seconds``."""
        over = False
        starting: set[asyncio.Task[list[str]]] = set()
        ours: set[str] = set()

        async def start(count: int) -> list[str]:
            ids = await self.start(workflow_id, count, payload)
            ours.update(ids)
            return ids

        due = 0

        def another(_: str) -> None:
            nonlocal due
            due += 0 if over else 1

        self.on_end = another
        await start(in_flight)
        began = time.monotonic()
        warm, counted_from = began + seconds / 3, 0
        while (now := time.monotonic()) < began + seconds:
            if now < warm:
                counted_from, warm_at = len(self.ends), now
            if due:
                count, due = due, 0
                task = asyncio.create_task(start(count))
                starting.add(task)
                task.add_done_callback(starting.discard)
            await asyncio.sleep(0.005)
        rate = (len(self.ends) - counted_from) / (time.monotonic() - warm_at)
        over = True
        self.on_end = lambda _: None
        await asyncio.gather(*starting)
        await self.until_ended(ours, 60.0)
        return rate

    async def until_ended(self, ids: set[str], patience: float) -> set[str]:
        """Wait until all have ended, or none of them has for ``patience`` seconds; returns those that have not."""
        left = {key for key in ids if key not in self.ends}
        progress = time.monotonic()
        while left and time.monotonic() - progress < patience:
            await asyncio.sleep(0.1)
            still = {key for key in left if key not in self.ends}
            if len(still) < len(left):
                progress = time.monotonic()
            left = still
        return left

    async def _receive(self, delivery: Delivery) -> None:
        kind = delivery.type
        payload = from_json(delivery.body)["payload"]
        if kind == Refused.TYPE:
            self.outcomes[f"refused: {payload['code']}"] += 1
        elif payload["execution_id"] not in self.ends:
            self.ends[payload["execution_id"]] = time.time()
            self.outcomes["completed" if kind == ExecutionCompleted.TYPE else kind] += 1
            self.on_end(payload["execution_id"])
        await delivery.ack()
