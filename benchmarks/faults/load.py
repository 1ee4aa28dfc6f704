"""The load: executions started through REST and straight on the broker, so many of them in flight at a time."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import aio_pika
import httpx

from benchmarks.faults.broker import Publisher
from benchmarks.faults.shapes import Planned, planned
from contracts.envelope import wrap
from contracts.execution import StartExecution

STARTERS = {"rest": 24, "broker": 4}
REST_TIMEOUT = 10.0
PAUSE = 0.5  # seconds before a start that was not accepted is sent again
NOT_NOW = (429, 503)


class Load:
    """Keeps ``in_flight`` executions open until it is told that it is enough: up to half of them started through REST,
    which answers when a start is stored, and the others on the broker. Every start is sent under one key, again and
    again, until it is accepted.

    ``headers`` are those of every request. ``note_execution`` is given what was accepted, ``note_start`` what was
    refused.
    """

    def __init__(
        self,
        seed: int,
        in_flight: int,
        url: str,
        headers: Mapping[str, str],
        publisher: Publisher,
        note_execution: Callable[[dict[str, Any]], None],
        note_start: Callable[[dict[str, Any]], None],
    ) -> None:
        self.open: dict[str, str] = {}  # execution id -> the way it was started
        self.started = 0
        self.ended = 0
        self.answers: Counter[str] = Counter()
        self._seed = seed
        self._in_flight = in_flight
        self._url = url
        self._publisher = publisher
        self._note_execution = note_execution
        self._note_start = note_start
        self._taken: Counter[str] = Counter()  # places of each way, for starts under way and open executions
        self._index = {way: itertools.count(first, len(STARTERS)) for first, way in enumerate(STARTERS)}
        self._known_to_have_ended: set[str] = set()
        self._changed = asyncio.Event()
        self._enough = False
        self._client = httpx.AsyncClient(timeout=REST_TIMEOUT, headers=headers)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        self._tasks = [
            asyncio.create_task(self._start_on(way)) for way, starters in STARTERS.items() for _ in range(starters)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def end(self, execution_id: str) -> None:
        """An execution is known to have ended; told once or more."""
        self._known_to_have_ended.add(execution_id)
        if execution_id in self.open:
            self._leave(self.open.pop(execution_id))
            self.ended += 1

    async def burst(self, amount: int) -> None:
        """Start so many more than there should be in flight."""
        self._in_flight += amount
        self._changed.set()
        try:
            await asyncio.sleep(5)
        finally:
            self._in_flight -= amount

    async def enough(self, patience: float) -> None:
        """Start nothing new, and wait for the starts under way; those that are never accepted are noted."""
        self._enough = True
        self._changed.set()
        _, unfinished = await asyncio.wait(self._tasks, timeout=patience)
        for task in self._tasks:
            if task in unfinished:
                self._note_start({"what": "never accepted", "detail": f"{task.get_name()}, within {patience:g} s"})
            elif (error := task.exception()) is not None:
                raise error

    async def all_ended(self, patience: float) -> bool:
        """Wait until nothing is open; False if that takes longer than ``patience`` seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._until(lambda: not self.open)
        except TimeoutError:
            return False
        return True

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def _start_on(self, way: str) -> None:
        while await self._place(way):
            index = next(self._index[way])
            plan = planned(self._seed, index)
            execution_id = await (self._by_rest if way == "rest" else self._on_broker)(plan, f"faults-{index}")
            if execution_id is None:
                self._leave(way)
            else:
                self._accept(execution_id, way, plan)

    async def _place(self, way: str) -> bool:
        """Wait for a place; False when nothing is to be started any more."""
        await self._until(lambda: self._enough or self._has_room(way))
        self._taken[way] += not self._enough
        return not self._enough

    def _has_room(self, way: str) -> bool:
        if way == "rest":
            return self._taken[way] < self._in_flight / 2
        return self._taken.total() < self._in_flight

    def _leave(self, way: str) -> None:
        self._taken[way] -= 1
        self._changed.set()

    def _accept(self, execution_id: str, way: str, plan: Planned) -> None:
        self.started += 1
        steps = {step_id: dict(step) for step_id, step in plan.steps.items()}
        self._note_execution(
            {"execution_id": execution_id, "way": way, "shape": plan.shape, "status": plan.status, "steps": steps}
        )
        if execution_id in self._known_to_have_ended:
            self._leave(way)
            self.ended += 1
        else:
            self.open[execution_id] = way

    async def _by_rest(self, plan: Planned, key: str) -> str | None:
        body = {"definition": plan.definition, "inputs": plan.inputs}
        while True:
            try:
                answer = await self._client.post(
                    f"{self._url}/executions", json=body, headers={"Idempotency-Key": f"{self._seed}/{key}"}
                )
            except httpx.HTTPError as error:
                self.answers[type(error).__name__] += 1
            else:
                self.answers[str(answer.status_code)] += 1
                if answer.status_code == httpx.codes.ACCEPTED:
                    return str(answer.json()["execution_id"])
                if answer.status_code not in NOT_NOW:
                    self._note_start({"what": "refused", "detail": f"{key}: {answer.status_code} {answer.text[:500]}"})
                    return None
            await asyncio.sleep(PAUSE)

    async def _on_broker(self, plan: Planned, key: str) -> str:
        """Accepted is here what the broker has confirmed: it keeps the start until an orchestrator has stored it."""
        execution_id = f"exec-{self._seed}-{key}"
        start = StartExecution(
            execution_id=execution_id, definition=dict(plan.definition), inputs=dict(plan.inputs), client="faults"
        )
        envelope = wrap(start, sender="faults", message_id=f"start/{execution_id}")
        message = aio_pika.Message(
            envelope.model_dump_json().encode(),
            type=start.TYPE,
            message_id=envelope.id,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        address = start.address()
        await self._publisher.publish(address.exchange.value, address.key, message)
        self.answers["confirmed"] += 1
        return execution_id
