"""The workflows of one round: which are open, how long each took, and whether what they put out is right."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.definitions import payload_of
from benchmarks.rounds import Workload


class RoundFailed(Exception):
    """A round whose figures must not be used; the message says what went wrong."""


class Flight:
    """One round. Its executions are called ``PREFIX-NUMBER``; without a prefix they are those of ``workflow_id``, and
    somebody else starts them."""

    def __init__(self, workload: Workload, prefix: str = "", workflow_id: str = "") -> None:
        self.workload = workload
        self.begun = 0
        self.compared = 0
        self.last_end = time.perf_counter()
        self.latencies_ms: list[float] = []
        self.large: list[tuple[int, str]] = []
        self.on_end: Callable[[], None] = _nothing
        self._prefix = prefix
        self._workflow_id = workflow_id
        self._open: dict[str, tuple[int, float]] = {}
        self._ended: set[str] = set()
        self._expected: int | None = workload.workflows if prefix else None
        self._over = asyncio.Event()
        self._fault: str | None = None
        self._last_steps = workload.width if workload.shape == "layered" else 1

    def begin(self) -> tuple[str, str]:
        """Open the next; returns its execution id and its payload."""
        number = self.begun
        self.begun += 1
        execution_id = f"{self._prefix}-{number}"
        payload = payload_of(number, self.workload.payload)
        self._open[execution_id] = (number, time.perf_counter())
        return execution_id, payload

    def knows(self, ended: Mapping[str, Any]) -> bool:
        """Whether what ended is of this round. An end that is told twice counts once."""
        execution_id = ended["execution_id"]
        if self._prefix:
            return execution_id in self._open
        return ended["workflow_id"] == self._workflow_id and execution_id not in self._ended

    def end(self, execution_id: str, outputs: Mapping[str, Any], heard: float) -> None:
        """Note that one completed, with the outputs of its last steps; ``heard`` is on ``perf_counter``."""
        number, begun = self._open.pop(execution_id, (0, heard))
        self._ended.add(execution_id)
        self.latencies_ms.append((heard - begun) * 1000)
        self.last_end = heard
        if len(outputs) != self._last_steps:
            self.fail(f"{execution_id} gave {len(outputs)} outputs, not {self._last_steps}")
        for output in outputs.values():
            if "payload_id" in output:
                self.large.append((number, output["payload_id"]))
            else:
                self._compared(number, output)
        self.on_end()
        self._look()

    def compare(self, number: int, output: Any) -> None:
        """Hold an output that was read after the round against the payload of workflow ``number``.

        Raises:
            RoundFailed: it is not the same.
        """
        self._compared(number, output)
        if self._fault is not None:
            raise RoundFailed(self._fault)

    def expect(self, count: int) -> None:
        """Say how many there are in all, where somebody else starts them."""
        self._expected = count
        self._look()

    def fail(self, fault: str) -> None:
        self._fault = self._fault or fault
        self._over.set()

    async def until_over(self, stalled: float) -> None:
        """Wait for the last end.

        Raises:
            RoundFailed: as ``fail`` was told, or nothing ended for ``stalled`` seconds.
        """
        while not self._over.is_set():
            before = len(self._ended)
            try:
                await asyncio.wait_for(self._over.wait(), stalled)
            except TimeoutError:
                if len(self._ended) == before:
                    self.fail(f"nothing ended for {stalled:.0f} s: {before} of {self._expected} had")
        if self._fault is not None:
            raise RoundFailed(self._fault)

    def _compared(self, number: int, output: Any) -> None:
        self.compared += 1
        wanted = payload_of(number, self.workload.payload)
        if output != {"payload": wanted}:
            self.fail(f"workflow {number} of {self.workload.name} put out {str(output)[:80]!r}, not {wanted[:60]!r}...")

    def _look(self) -> None:
        if self._expected is not None and len(self._ended) >= self._expected:
            self._over.set()


def _nothing() -> None:
    return None
