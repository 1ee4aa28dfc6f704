# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The orchestrator of the floors: it sends a step, and the next when its result has come. It keeps no state: only how
many results are still out, in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from line_protocol import Workload, expect

Message = dict[str, Any]


class PingPong:
    """``send`` publishes one message to the agent and returns when the broker has confirmed it."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self._runs: dict[int, _Run] = {}
        self._started = 0

    async def run_one(self, workload: Workload, number: int) -> None:
        self._started += 1
        key = self._started
        run = self._runs[key] = _Run(workload, key, workload.text(number), self._send)
        try:
            await run.send(0)
            await run.finished
        finally:
            del self._runs[key]

    async def on_result(self, message: Message) -> None:
        """Returns when whatever the result calls for has been sent and confirmed: then the result may be acked."""
        run = self._runs.get(message["workflow"])
        # A result of a workflow that is over was delivered twice; the count of executed steps tells if it matters.
        if run is not None:
            await run.on_result(message)


class _Run:
    def __init__(self, workload: Workload, key: int, text: str, send: Callable[[Message], Awaitable[None]]) -> None:
        self._key = key
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._workload = workload
        self._text = text
        self._send = send
        self._out: set[int] = set()
        self._done = 0

    async def send(self, step: int) -> None:
        self._out.add(step)
        await self._send({"workflow": self._key, "step": step, "payload": self._text})

    async def on_result(self, message: Message) -> None:
        step = message["step"]
        if step not in self._out:
            return
        self._out.remove(step)
        self._done += 1
        if message["payload"] != self._text:
            self.finished.set_exception(RuntimeError(f"step {step} gave another payload back"))
            return
        try:
            await self._send_what_follows(step)
        except Exception as error:
            self.finished.set_exception(error)
            raise

    async def _send_what_follows(self, step: int) -> None:
        last = self._workload.steps - 1
        if step == last:
            expect("steps done", self._done, self._workload.steps)
            self.finished.set_result(None)
        elif self._workload.shape == "chain":
            await self.send(step + 1)
        elif step == 0:
            await asyncio.gather(*(self.send(member) for member in range(1, last)))
        elif not self._out:
            await self.send(last)
