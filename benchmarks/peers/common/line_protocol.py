# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""What a peer's program says and hears: JSON lines on standard output and input.

It first writes ``{"ready": true, "versions": {...}, "settings": {...}}`` once its workers take work. Then it is sent
workloads, one a line, and answers each with ``{"steps", "seconds", "latencies_ms", "figures"}`` or ``{"error"}``. When
its standard input closes it ends; in the middle of a round it ends at once, and the leash ends its workers.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import platform
import queue
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from step_counter import executed_steps
from workers import Workers


@dataclass(frozen=True)
class Workload:
    """As ``benchmarks.rounds.Workload``, which a peer's environment cannot import."""

    name: str
    shape: str
    steps: int
    workflows: int
    in_flight: int
    payload: int

    @property
    def width(self) -> int:
        """How many steps of a fan run side by side."""
        return self.steps - 2

    def text(self, workflow: int) -> str:
        """What the steps of this workflow echo: ``payload`` characters, of which the first tell workflows apart."""
        return f"{workflow}-".ljust(self.payload, "x")[: self.payload]


class Conversation:
    """The two ends of the line. What else this process or its libraries print goes to standard error."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._busy = True  # until it is ready
        threading.Thread(target=self._listen, daemon=True).start()

    def ready(self, packages: Sequence[str], **settings: str) -> None:
        versions = {name: importlib.metadata.version(name) for name in packages}
        self._say({"ready": True, "versions": {"python": platform.python_version(), **versions}, "settings": settings})

    def workload(self) -> Workload | None:
        """The next one to run; None at the end."""
        question = self._questions.get()
        return Workload(**json.loads(question)) if question else None

    @contextlib.contextmanager
    def measured(self, latencies: list[float]) -> Iterator[None]:
        """Times what is done within, in which ``latencies`` gets one number of milliseconds a workflow, and answers."""
        executed = executed_steps()
        own, theirs = time.process_time(), self._workers.cpu_seconds()
        began = time.perf_counter()
        try:
            yield
        except Exception:
            traceback.print_exc()
            self._say({"error": traceback.format_exc().splitlines()[-1]})
            return
        seconds = time.perf_counter() - began
        cpu = {"client": time.process_time() - own}
        after = self._workers.cpu_seconds()
        if theirs and after:
            cpu["workers"] = after - theirs
        self._say(
            {
                "steps": executed_steps() - executed,
                "seconds": seconds,
                "latencies_ms": latencies,
                "figures": {"cpu_seconds": cpu},
            }
        )

    def _say(self, answer: dict[str, Any]) -> None:
        self._busy = False  # first: whoever reads the answer may close the line at once
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    def _listen(self) -> None:
        # Not sys.stdin: its lock, held by a thread that waits, breaks the end of the interpreter.
        rest = b""
        while piece := os.read(0, 65_536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._busy = True
                self._questions.put(line)
        if self._busy:
            os._exit(1)
        self._questions.put(b"")


async def converse(conversation: Conversation, run: Callable[[Workload, list[float]], Awaitable[None]]) -> None:
    """Run every workload that is sent, on this event loop, until the line closes."""
    while (workload := await asyncio.to_thread(conversation.workload)) is not None:
        latencies: list[float] = []
        with conversation.measured(latencies):
            await run(workload, latencies)


async def in_lanes(
    workload: Workload, latencies: list[float], run_one: Callable[[Workload, int], Awaitable[None]]
) -> None:
    """Run the workflows, ``in_flight`` of them at a time, by ``run_one``, which returns when one has finished."""
    numbers = iter(range(workload.workflows))

    async def lane() -> None:
        for number in numbers:
            began = time.perf_counter()
            await run_one(workload, number)
            latencies.append((time.perf_counter() - began) * 1000)

    lanes = [asyncio.create_task(lane()) for _ in range(workload.in_flight)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for task in lanes:
            task.cancel()


def expect(what: str, found: object, wanted: object) -> None:
    """Raises RuntimeError naming both if they differ."""
    if found != wanted:
        raise RuntimeError(f"{what} is {str(found)[:200]} where it must be {str(wanted)[:200]}")
