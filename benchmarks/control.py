"""How a benchmark's process is told what to do: a line of JSON in on standard input, a line of JSON out."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.runtime.background import in_background, stopped

_INPUT = 0

Operation = Callable[..., Awaitable[Any]]


class Control:
    """Answers ``{"do": NAME, **arguments}`` with ``{"answer": ...}`` or ``{"error": "..."}``, one after the other.

    When the input ends, whoever gave orders is gone, and the process is told to end, whatever it is doing.
    """

    name = "control"

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self._rest = b""
        self._orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._obeying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._obeying = in_background(self._obey_all(), "control")
        asyncio.get_running_loop().add_reader(_INPUT, self._read)

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(_INPUT)
        await stopped(self._obeying)

    def _read(self) -> None:
        piece = os.read(_INPUT, 1 << 16)
        if not piece:
            asyncio.get_running_loop().remove_reader(_INPUT)
            os.kill(os.getpid(), signal.SIGTERM)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._orders.put_nowait(json.loads(line))

    async def _obey_all(self) -> None:
        while True:
            answer = await self._obey(await self._orders.get())
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    async def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        name = order.pop("do")
        try:
            return {"answer": await self._operations[name](**order)}
        except Exception as error:
            # Whatever it is, it is for the one who gave the order to report.
            return {"error": f"{name}: {type(error).__name__}: {error}"}
