"""The MongoDB store when its server is late, killed, deaf, or cut off after it has done what it was asked."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from contracts.history import ExecutionStatus, Header, LogEntry, StepSkipped
from scripts.servers import MongoServer, free_port, secantus_program
from services.runtime.settings import Settings
from services.runtime.store.base import HeaderFilter, Page, Store, StoreError, StoreUnavailable
from services.runtime.store.mongo import MongoStore
from services.runtime.store.open import open_store
from tests.support.stores import own_database

S = TypeVar("S", bound=Store)

pytestmark = pytest.mark.mongodb


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[MongoServer]:
    """A server of this test alone, not started yet, that keeps its data and its port when it is killed."""
    if secantus_program() is None:
        if os.environ.get("CI"):
            pytest.fail("SecantusDB is not installed", pytrace=False)
        pytest.skip("not run: SecantusDB is not installed")
    server = MongoServer(tmp_path / "server")
    yield server
    server.close()


@pytest.fixture
def database(mongo_url: str) -> Iterator[str]:
    """A name of this test's own in the shared server."""
    with own_database(mongo_url) as name:
        yield name


@contextlib.asynccontextmanager
async def started(store: S) -> AsyncIterator[S]:
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def impatient(url: str, database: str = "conclave", **options: Any) -> MongoStore:
    return MongoStore(url, database, **{"selection_timeout": 0.5, "socket_timeout": 1.0, "retry": 0.1, **options})


def entry(execution_id: str, n: int, text: str = "") -> LogEntry:
    events = (StepSkipped(step="s", reason=text),)
    return LogEntry(execution_id=execution_id, n=n, at=1.0, applied=(f"m{n}",), events=events)


async def eventually_answers(store: MongoStore) -> None:
    while True:
        with contextlib.suppress(StoreUnavailable):
            return await store.ping()


async def operations(store: MongoStore) -> list[BaseException | Any]:
    header = Header(execution_id="a", n=1, status=ExecutionStatus.RUNNING, workflow_name="w", started_at=1.0)
    calls = [
        store.ping(),
        store.append([entry("a", 1)]),
        store.read_log({"a": 0}),
        store.put_payloads({"p": 1}),
        store.get_payloads(["p"]),
        store.write_headers([header]),
        store.read_headers(["a"]),
        store.due_headers(1.0, 10),
        store.open_headers(Page()),
        store.list_headers(HeaderFilter(), Page()),
        store.get_definition("h"),
        store.get_workflow("w"),
        store.delete_workflow("w"),
        store.list_agent_hosts(0.0),
    ]
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 120)


# ---- late


async def test_a_store_that_is_away_at_start_is_unavailable_and_then_comes(own_server: MongoServer) -> None:
    async with started(impatient(own_server.url)) as store:
        assert {type(outcome) for outcome in await operations(store)} == {StoreUnavailable}
        own_server.start()
        await asyncio.wait_for(eventually_answers(store), 60)
        assert await store.append([entry("a", 1)]) == {"a/000000001"}
        with MongoClient[dict[str, Any]](own_server.url) as client:
            indexes = {index["name"] for index in client["conclave"]["headers"].list_indexes()}
        assert indexes == {"_id_", "status_started", "workflow_name_started", "workflow_id_started", "due"}


async def test_a_store_that_is_not_started_says_so() -> None:
    store = MongoStore("mongodb://localhost:1/x", "x")
    with pytest.raises(StoreError, match="not started"):
        await store.ping()
    await store.stop()


async def test_a_stopped_store_says_so_and_can_be_stopped_while_the_server_is_away() -> None:
    store = impatient(f"mongodb://127.0.0.1:{free_port()}/x")
    await store.start()
    waiting = asyncio.create_task(store.append([entry("a", 1)]))
    await asyncio.sleep(0)
    await asyncio.wait_for(store.stop(), 60)
    with pytest.raises(StoreError):
        await asyncio.wait_for(waiting, 60)
    with pytest.raises(StoreError, match="not started"):
        await store.ping()


@pytest.mark.parametrize(
    ("url", "database", "fault"),
    [
        ("mongodb://host:port:1/x", "x", "not one of MongoDB"),
        ("mongodb://host:99999/x", "x", "not one of MongoDB"),
        ("http://h/x", "x", "connect: Invalid URI scheme"),
        ("mongodb://h/x", "no/name", "connect: database names cannot contain"),
    ],
)
async def test_a_url_that_is_none_is_refused_at_start(url: str, database: str, fault: str) -> None:
    with pytest.raises(StoreError, match=fault):
        await MongoStore(url, database).start()


async def test_the_end_of_the_loop_ends_a_store_that_nobody_stopped() -> None:
    store = impatient(f"mongodb://127.0.0.1:{free_port()}/x")

    async def forgetful() -> None:
        await store.start()
        await asyncio.sleep(0.05)

    await asyncio.wait_for(asyncio.to_thread(asyncio.run, forgetful()), 60)


# ---- killed


async def test_what_was_acknowledged_outlives_kill_9_and_the_client_recovers(own_server: MongoServer) -> None:
    own_server.start()
    acknowledged: set[str] = set()
    failures: list[StoreError] = []
    enough = asyncio.Event()

    async def write(store: MongoStore, writer: int) -> None:
        for n in range(1, 100_000):
            try:
                acknowledged.update(await store.append([entry(f"w{writer}-{i}", n) for i in range(5)]))
            except StoreUnavailable as error:
                failures.append(error)
                return
            if len(acknowledged) >= 150 * (1 + len(failures) // 3):
                enough.set()

    async with started(impatient(own_server.url)) as store:
        await asyncio.wait_for(eventually_answers(store), 60)
        for _ in range(2):
            enough.clear()
            writers = [asyncio.create_task(write(store, len(failures) + i)) for i in range(3)]
            await asyncio.wait_for(enough.wait(), 60)
            own_server.kill()
            await asyncio.wait_for(asyncio.gather(*writers), 120)
            own_server.start()
            await asyncio.wait_for(eventually_answers(store), 60)
            names = {key.rsplit("/", 1)[0] for key in acknowledged}
            logs = await store.read_log(dict.fromkeys(names, 0))
            stored = {written.id for log in logs.values() for written in log}
            assert acknowledged - stored == set()
        assert len(failures) == 6
        assert len(acknowledged) >= 300


async def test_headers_and_payloads_outlive_kill_9(own_server: MongoServer) -> None:
    own_server.start()
    async with started(impatient(own_server.url, socket_timeout=30.0)) as store:
        headers = [
            Header(execution_id=f"x{i}", n=n, status=ExecutionStatus.RUNNING, workflow_name="w", started_at=1.0)
            for n in (1, 2)
            for i in range(20)
        ]
        await store.write_headers(headers[:20])
        await store.write_headers(headers[20:])
        await store.put_payloads({"p": ["é", 2**70]})
        own_server.kill()
        own_server.start()
        await asyncio.wait_for(eventually_answers(store), 60)
        assert await store.read_headers([header.execution_id for header in headers]) == {
            header.execution_id: header for header in headers[20:]
        }
        assert await store.get_payloads(["p"]) == {"p": ["é", 2**70]}


# ---- deaf, and cut off


async def test_a_server_that_takes_connections_and_never_answers_is_unavailable() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with started(impatient(f"mongodb://127.0.0.1:{port}/?directConnection=true")) as store:
        assert {type(outcome) for outcome in await operations(store)} == {StoreUnavailable}
    server.close()


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


@pytest.mark.parametrize("retry", ["true", "false"])
async def test_an_append_whose_answer_is_lost_is_found_in_the_log(mongo_url: str, database: str, retry: str) -> None:
    proxy = Proxy(mongo_url)
    async with proxy as url, started(MongoStore(f"{url}&retryWrites={retry}", database, socket_timeout=30)) as store:
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


async def test_no_option_of_the_url_makes_writes_unconfirmed_or_reads_stale(mongo_url: str, database: str) -> None:
    options = "w=0&journal=false&readPreference=secondaryPreferred&readConcernLevel=local"
    async with started(MongoStore(f"{mongo_url}?{options}", database, socket_timeout=30)) as store:
        assert await store.append([entry("a", 1)]) == {"a/000000001"}
        assert await store.append([entry("a", 1)]) == set()


async def test_an_option_of_the_url_wins_over_a_timeout(mongo_url: str, database: str) -> None:
    async with Proxy(mongo_url, delay=0.3) as url:
        patient = MongoStore(f"{url}&SocketTimeoutMS=60000", database, selection_timeout=30, socket_timeout=0.1)
        async with started(patient) as store:
            assert await store.append([entry("a", 1)]) == {"a/000000001"}
        async with started(MongoStore(url, database, selection_timeout=30, socket_timeout=0.1)) as store:
            with pytest.raises(StoreUnavailable):
                await store.append([entry("a", 2)])


# ---- indexes


async def test_an_index_that_cannot_be_made_is_told_by_every_ping_and_nothing_else_stops(
    mongo_url: str, database: str
) -> None:
    with MongoClient[dict[str, Any]](mongo_url) as client:
        client[database]["headers"].create_index("ended_at", name="due")
    async with started(MongoStore(mongo_url, database, socket_timeout=30)) as store:
        assert await store.append([entry("a", 1)]) == {"a/000000001"}
        for _ in range(2):
            with pytest.raises(StoreError, match="create the indexes of headers"):
                await store.ping()


async def test_stores_that_start_at_once_on_an_empty_database_do_not_keep_each_other_out(
    mongo_url: str, database: str
) -> None:
    stores = [MongoStore(mongo_url, database, socket_timeout=30) for _ in range(6)]
    async with contextlib.AsyncExitStack() as stack:
        for store in stores:
            await stack.enter_async_context(started(store))
        appends = (store.append([entry("a", 1), entry(f"x{i}", 1)]) for i, store in enumerate(stores))
        inserted = await asyncio.wait_for(asyncio.gather(*appends), 60)
    assert sorted(key for keys in inserted for key in keys) == [
        "a/000000001",
        *(f"x{i}/000000001" for i in range(6)),
    ]


# ---- settings


async def test_the_settings_say_which_store_is_opened(mongo_url: str, database: str) -> None:
    url = urlsplit(mongo_url)._replace(path=f"/{database}").geturl()
    async with started(open_store(Settings(database_url=url))) as store:  # type: ignore[call-arg]
        await store.append([entry("a", 1)])
    with MongoClient[dict[str, Any]](mongo_url) as client:
        assert [row["_id"] for row in client[database]["log"].find()] == ["a/000000001"]
