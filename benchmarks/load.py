"""A light HTTP client for the ``start`` workload, in a process of its own.

    python -m benchmarks.load HOST PORT PATH CONNECTIONS STARTS < BODY

Signed in with the API key in BENCHMARK_API_KEY. Keeps CONNECTIONS open, each with one request under way, until STARTS
have been accepted (202). An answer 429 or 503 says "later": its connection waits as long as ``Retry-After`` says and
asks again. Prints one line of JSON:
``accepted`` and ``refused`` (how many answers said later), ``seconds``, ``latencies_ms`` of the accepted, ``begun_at``
(epoch seconds) and ``cpu_seconds`` of this process. Any other answer ends it with an error.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from benchmarks.key_header import header_line

ACCEPTED, LATER = 202, (429, 503)
_ABOUT_A_SECOND = 1.0


class UnexpectedAnswer(Exception):
    """Neither accepted nor "later"."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Load:
    def __init__(self, host: str, port: int, path: str, body: bytes, header: str = "") -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"{header}Content-Length: {len(body)}\r\n\r\n"
        )
        self._where = (host, port)
        self._request = head.encode() + body
        self._left = 0
        self._refused = 0
        self._latencies_ms: list[float] = []

    async def run(self, connections: int, starts: int) -> dict[str, Any]:
        """
        Raises:
            ExceptionGroup: of OSError or UnexpectedAnswer.
        """
        self._left = starts
        begun_at, begun, cpu = time.time(), time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(self._connection())
        return {
            "accepted": len(self._latencies_ms),
            "refused": self._refused,
            "seconds": time.perf_counter() - begun,
            "latencies_ms": self._latencies_ms,
            "begun_at": begun_at,
            "cpu_seconds": time.process_time() - cpu,
        }

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection(*self._where)
        try:
            while self._left > 0:
                self._left -= 1
                sent = time.perf_counter()
                writer.write(self._request)
                answer = await _read(reader)
                if answer.status == ACCEPTED:
                    self._latencies_ms.append((time.perf_counter() - sent) * 1000)
                elif answer.status in LATER:
                    self._left += 1
                    self._refused += 1
                    await asyncio.sleep(float(answer.headers.get(b"retry-after", _ABOUT_A_SECOND)))
                else:
                    raise UnexpectedAnswer(f"{answer.status}: {answer.body[:500]!r}")
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    pairs = (line.partition(b":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return Answer(int(first.split(b" ")[1]), headers, body)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    host, port, path, connections, starts = arguments
    load = Load(host, int(port), path, sys.stdin.buffer.read(), header_line(os.environ))
    print(json.dumps(uvloop.run(load.run(int(connections), int(starts)))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
