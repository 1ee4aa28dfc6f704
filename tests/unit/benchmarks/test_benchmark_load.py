"""The load generator, against servers that answer this and that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import Load, UnexpectedAnswer

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
LATER = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 3\r\n\r\nno!"
WRONG = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nwhat"


class Answering:
    """Gives its answers one after the other, over all connections, then the last one again and again."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(4))
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        except asyncio.IncompleteReadError:
            writer.close()


@asynccontextmanager
async def server(*answers: bytes) -> AsyncIterator[Answering]:
    answering = Answering(*answers)
    listening = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    answering.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield answering


async def test_connections_are_kept_and_starts_counted() -> None:
    async with server(OK) as answering:
        told = await Load("127.0.0.1", answering.port, "/x", b"body").run(connections=3, starts=20)
    assert (told["accepted"], told["refused"], len(told["latencies_ms"])) == (20, 0, 20)
    assert answering.connections == 3
    assert {request.split(b"\r\n")[0] for request in answering.requests} == {b"POST /x HTTP/1.1"}
    assert all(request.endswith(b"\r\n\r\nbody") for request in answering.requests)


async def test_who_is_told_later_asks_again() -> None:
    async with server(LATER, OK, LATER, LATER, OK) as answering:
        told = await Load("127.0.0.1", answering.port, "/x", b"body").run(connections=1, starts=4)
    assert (told["accepted"], told["refused"], len(answering.requests)) == (4, 3, 7)


async def test_any_other_answer_ends_it() -> None:
    async with server(OK, WRONG) as answering:
        with pytest.raises(ExceptionGroup) as failed:
            await Load("127.0.0.1", answering.port, "/x", b"body").run(connections=1, starts=4)
    assert failed.group_contains(UnexpectedAnswer, match="404: b'what'")
