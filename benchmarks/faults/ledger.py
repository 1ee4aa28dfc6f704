"""The world outside: a ledger that steps write to, as a well-made external system takes such writes.

An effect is keyed by the step's idempotency key. The first call with a key has its effect; a later one is a repeat,
answered with what the first one gave; one with the same key and another value is a conflict, and is refused. The ledger
lives in the process that no fault of the run touches, so what it has written down is what happened.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

SOCKET_VARIABLE = "FAULT_LEDGER"


class Ledger:
    """Answers on a Unix socket: one JSON line a connection. ``note`` is given one row for each call:

    ``{"seq", "at", "execution_id", "step", "attempt", "key", "value", "what"}`` with ``what`` one of ``effect``,
    ``repeat``, ``conflict``, and ``refused`` for an attempt that fails before it has any effect.
    """

    def __init__(self, path: Path, note: Callable[[dict[str, Any]], None]) -> None:
        self.path = path
        self.calls = 0
        self.effects: dict[str, str] = {}
        self._note = note
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Ledger":
        self._server = await asyncio.start_unix_server(self._answer, self.path, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()

    def write(self, call: dict[str, Any]) -> dict[str, Any]:
        """Take one call and say what became of it."""
        what = "refused" if call.pop("refuse") else self._take(call["key"], call["value"])
        self.calls += 1
        self._note({"seq": self.calls, "at": time.time(), **call, "what": what})
        return {"what": what}

    def _take(self, key: str, value: str) -> str:
        known = self.effects.get(key)
        if known is None:
            self.effects[key] = value
            return "effect"
        return "repeat" if known == value else "conflict"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line.endswith(b"\n"):  # a host killed while it wrote has not asked for anything
                writer.write(json.dumps(self.write(json.loads(line))).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # the caller died; what it asked for has happened
        finally:
            writer.close()


async def call_ledger(path: str, call: dict[str, Any]) -> dict[str, Any]:
    """What a step does to have its effect.

    Raises:
        ConnectionError: the ledger closed without an answer.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(json.dumps(call).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
        if not line:
            raise ConnectionError(f"the ledger at {path} closed without an answer")
        return dict(json.loads(line))
    finally:
        writer.close()
