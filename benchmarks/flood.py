"""Starts through REST at a rate, whether or not they are answered, from a process of its own.

    python -m benchmarks.flood HOST PORT PATH RATE SECONDS CONNECTIONS < BODY

Signed in with the API key in BENCHMARK_API_KEY. Every start that is due takes a free connection; where there is none it
is counted as ``not_sent``: a client that cannot get through. Nobody honours Retry-After. Prints one line of JSON:
``statuses`` (answers of each), ``accepted`` (execution id and when it was asked for, in epoch seconds), ``answer_ms``
(p50, p99 and most, by status),
``retry_after`` (how many answers with each value), ``without_retry_after`` (answers 429 or 503 that name none),
``kinds`` (problem types) and ``errors`` of connections.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvloop

from benchmarks.key_header import header_line

ACCEPTED, TOO_MANY, UNAVAILABLE = 202, 429, 503
_TICK = 0.01
_ANSWER_SECONDS = 30.0


class Flood:
    def __init__(self, host: str, port: int, path: str, body: bytes, header: str = "") -> None:
        self._host, self._port = host, port
        self._request = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"{header}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.statuses: Counter[int] = Counter()
        self.retry_after: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.without_retry_after = 0
        self.not_sent = 0
        self.accepted: list[tuple[str, float]] = []
        self._milliseconds: defaultdict[int, list[float]] = defaultdict(list)
        self._due: asyncio.Queue[None] = asyncio.Queue()
        self._free = 0
        self._all_free = asyncio.Event()

    async def run(self, rate: float, seconds: float, connections: int) -> None:
        clients = [asyncio.create_task(self._client()) for _ in range(connections)]
        began, asked = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < seconds:
            for _ in range(int(elapsed * rate) - asked):
                asked += 1
                if self._due.qsize() < self._free:
                    self._due.put_nowait(None)
                else:
                    self.not_sent += 1
            await asyncio.sleep(_TICK)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._until_free(connections), _ANSWER_SECONDS)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _until_free(self, connections: int) -> None:
        while self._free < connections:
            self._all_free.clear()
            await self._all_free.wait()

    def told(self) -> dict[str, Any]:
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "retry_after": dict(self.retry_after),
            "kinds": dict(self.kinds),
            "errors": dict(self.errors),
            "without_retry_after": self.without_retry_after,
            "not_sent": self.not_sent,
            "answer_ms": {str(status): _spread(times) for status, times in sorted(self._milliseconds.items())},
            "accepted": self.accepted,
        }

    async def _client(self) -> None:
        """One connection, opened again whenever it is lost."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            except OSError as error:
                self.errors[type(error).__name__] += 1
                await asyncio.sleep(0.1)
                continue
            try:
                while True:
                    self._free += 1
                    self._all_free.set()
                    try:
                        await self._due.get()
                    finally:
                        self._free -= 1
                    await asyncio.wait_for(self._ask(reader, writer), _ANSWER_SECONDS)
            except (OSError, EOFError, TimeoutError) as error:
                self.errors[type(error).__name__] += 1
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began, asked_at = time.perf_counter(), time.time()
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        status = int(head[9:12])
        self.statuses[status] += 1
        self._milliseconds[status].append((time.perf_counter() - began) * 1000)
        if status == ACCEPTED:
            self.accepted.append((json.loads(body)["execution_id"], asked_at))
            return
        self.kinds[json.loads(body).get("type", "")] += 1
        if status in (TOO_MANY, UNAVAILABLE):
            if b"retry-after" in headers:
                self.retry_after[headers[b"retry-after"].decode()] += 1
            else:
                self.without_retry_after += 1


def _spread(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[int(len(ordered) * 0.99)], "most": ordered[-1]}


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 6:
        print(__doc__, file=sys.stderr)
        return 2
    host, port, path, rate, seconds, connections = arguments
    flood = Flood(host, int(port), path, sys.stdin.buffer.read(), header_line(os.environ))
    uvloop.run(flood.run(float(rate), float(seconds), int(connections)))
    print(json.dumps(flood.told()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
