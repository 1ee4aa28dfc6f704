"""The MongoDB store when its server is cut off after it has done what it was asked.

What it has in common with other stores: test_store_faults_parity.py.
"""

import asyncio
import contextlib
from functools import partial
from urllib.parse import urlsplit

import pytest

from services.runtime.store.base import StoreUnavailable
from services.runtime.store.mongo import MongoStore
from tests.support.store_operations import entry
from tests.support.stores import patient_mongo, started

pytestmark = pytest.mark.mongodb


class Proxy:
    """Between client and server. While ``mute`` is a command's name, its first answer is dropped and its connection
    cut: the server has done what it was asked, and the client does not know."""

    def __init__(self, url: str, *, delay: float = 0.0) -> None:
        self.mute: bytes | None = None
        self.muted = 0
        self._url = urlsplit(url)
        self._delay = delay
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> str:
        """The URL that leads through the proxy, to which options can be added."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        user, at, _ = self._url.netloc.rpartition("@")
        netloc = f"{user}{at}127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self._url._replace(netloc=netloc, query="directConnection=true").geturl()

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection(self._url.hostname, self._url.port or 27017)
        cut = asyncio.Event()

        async def requests() -> None:
            while message := await _message(client_in):
                if self.mute is not None and b"\x02" + self.mute + b"\x00" in message:
                    self.mute = None
                    cut.set()
                server_out.write(message)
            server_out.close()

        async def answers() -> None:
            while message := await _message(server_in):
                if cut.is_set():
                    self.muted += 1
                    break
                await asyncio.sleep(self._delay)
                client_out.write(message)
            client_out.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(requests(), answers())


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One message of the wire protocol (its length stands first), or nothing at the end."""
    try:
        head = await reader.readexactly(4)
        return head + await reader.readexactly(int.from_bytes(head, "little") - 4)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


patient = partial(patient_mongo, seconds=30)


@pytest.mark.parametrize("retry", ["true", "false"])
async def test_an_append_whose_answer_is_lost_is_found_in_the_log(mongo_url: str, database: str, retry: str) -> None:
    proxy = Proxy(mongo_url)
    async with proxy as url, started(patient(f"{url}&retryWrites={retry}", database)) as store:
        await store.append([entry("a", 1)])
        proxy.mute = b"insert"
        batch = [entry("a", 2, "mine"), entry("b", 1, "mine"), entry("a", 1, "lost")]
        told: set[str] | None
        try:
            told = await store.append(batch)
        except StoreUnavailable:
            told = None
        assert proxy.muted == 1
        assert await store.read_log({"a": 0, "b": 0}) == {"a": [entry("a", 1), batch[0]], "b": [batch[1]]}
        if retry == "false":
            assert told is None
        else:
            assert told is not None
            assert told <= {"a/000000002", "b/000000001"}


async def test_an_option_of_the_url_wins_over_a_timeout(mongo_url: str, database: str) -> None:
    async with Proxy(mongo_url, delay=0.3) as url:
        patient = MongoStore(f"{url}&SocketTimeoutMS=60000", database, selection_timeout=30, socket_timeout=0.1)
        async with started(patient) as store:
            assert await store.append([entry("a", 1)]) == {"a/000000001"}
        async with started(MongoStore(url, database, selection_timeout=30, socket_timeout=0.1)) as store:
            with pytest.raises(StoreUnavailable):
                await store.append([entry("a", 2)])
