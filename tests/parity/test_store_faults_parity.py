"""What every store with a server must do when the server is late, killed or deaf: MongoDB's protocol and PostgreSQL.

What only one of them can go through: test_mongo_faults.py and test_postgres_faults.py.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from scripts.servers import LocalServer, free_port
from services.runtime.audit_chain import link
from services.runtime.store.base import Store, StoreError, StoreUnavailable
from services.runtime.store.mongo import MongoStore
from services.runtime.store.postgres import PostgresStore
from tests.support.store_operations import (
    OPERATIONS,
    agent,
    api_key,
    checkpoint,
    entry,
    header,
    host,
    letter,
    outcomes,
    record,
)
from tests.support.stores import started, until_it_answers

MONGODB = pytest.param("mongodb", marks=pytest.mark.mongodb)
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)
SOON = 5.0  # seconds to find a server that is there, which a machine that stands still for a while does not use up


@dataclass(frozen=True)
class Kind:
    name: str

    def store(
        self, url: str, database: str = "conclave", *, found_within: float = 0.5, answer_within: float = 1.0
    ) -> Store:
        """One that soon says that its server is away, also of one that is only slow unless it has more time."""
        if self.name == "mongodb":
            return MongoStore(url, database, selection_timeout=found_within, socket_timeout=answer_within, retry=0.1)
        return PostgresStore(url, database, connect_timeout=found_within, command_timeout=answer_within, retry=0.1)

    def url(self, port: int) -> str:
        if self.name == "mongodb":
            return f"mongodb://127.0.0.1:{port}/?directConnection=true"
        return f"postgresql://u@127.0.0.1:{port}/x?sslmode=disable"


@pytest.fixture(params=[MONGODB, POSTGRES])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


@pytest.fixture
def own_server(kind: Kind, request: pytest.FixtureRequest) -> LocalServer:
    """A server of this test alone, not started yet, that keeps its data and its port when it is killed."""
    server: LocalServer = request.getfixturevalue("own_mongo" if kind.name == "mongodb" else "own_postgres")
    return server


@pytest.fixture
def shared_url(kind: Kind, request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("mongo_url" if kind.name == "mongodb" else "postgres_url")
    return url


def test_every_operation_is_asked_here() -> None:
    asked = {name for name, member in vars(Store).items() if callable(member) and not name.startswith("_")}
    assert set(OPERATIONS) == asked - {"start", "stop"}


def kinds(answers: dict[str, Any]) -> dict[str, type]:
    return {name: type(answer) for name, answer in answers.items()}


# ---- late


async def test_a_store_that_is_away_at_start_is_unavailable_and_then_comes(kind: Kind, own_server: LocalServer) -> None:
    async with started(kind.store(own_server.url, found_within=SOON, answer_within=30.0)) as store:
        assert kinds(await outcomes(store)) == dict.fromkeys(OPERATIONS, StoreUnavailable)
        own_server.start()
        await until_it_answers(store)
        assert await store.append([entry("a", 1)]) == {"a/000000001"}
        answers = await outcomes(store)
        assert {name: answer for name, answer in answers.items() if isinstance(answer, BaseException)} == {}


async def test_a_store_that_is_not_started_says_so(kind: Kind) -> None:
    store = kind.store(kind.url(1))
    for name, answer in (await outcomes(store)).items():
        assert isinstance(answer, StoreError), name
        assert str(answer) == "the store is not started", name
    await store.stop()


async def test_a_stopped_store_says_so_and_can_be_stopped_while_the_server_is_away(kind: Kind) -> None:
    store = kind.store(kind.url(free_port()))
    await store.start()
    waiting = asyncio.create_task(store.append([entry("a", 1)]))
    await asyncio.sleep(0)
    await asyncio.wait_for(store.stop(), 60)
    with pytest.raises(StoreError):
        await asyncio.wait_for(waiting, 60)
    with pytest.raises(StoreError, match="not started"):
        await store.ping()


@pytest.mark.parametrize("server", ["away", "there"])
async def test_the_end_of_the_loop_ends_a_store_that_nobody_stopped(
    kind: Kind, shared_url: str, database: str, server: str
) -> None:
    store = kind.store(shared_url if server == "there" else kind.url(free_port()), database)

    async def forgetful() -> None:
        await store.start()
        await asyncio.sleep(0.2)

    await asyncio.wait_for(asyncio.to_thread(asyncio.run, forgetful()), 60)


async def test_stores_that_start_at_once_on_an_empty_database_do_not_keep_each_other_out(
    kind: Kind, shared_url: str, database: str
) -> None:
    stores = [kind.store(shared_url, database, found_within=30.0, answer_within=30.0) for _ in range(6)]
    for store in stores:
        await store.start()
    try:
        appends = (store.append([entry("a", 1), entry(f"x{i}", 1)]) for i, store in enumerate(stores))
        inserted = await asyncio.wait_for(asyncio.gather(*appends), 60)
    finally:
        for store in stores:
            await store.stop()
    assert sorted(key for keys in inserted for key in keys) == ["a/000000001", *(f"x{i}/000000001" for i in range(6))]


# ---- killed


async def test_what_was_acknowledged_outlives_kill_9_and_the_client_recovers(
    kind: Kind, own_server: LocalServer
) -> None:
    own_server.start()
    acknowledged: set[str] = set()
    failures: list[StoreError] = []
    enough = asyncio.Event()

    async def write(store: Store, writer: int) -> None:
        for n in range(1, 100_000):
            try:
                acknowledged.update(await store.append([entry(f"w{writer}-{i}", n) for i in range(5)]))
            except StoreUnavailable as error:
                failures.append(error)
                return
            if len(acknowledged) >= 300 * (1 + len(failures) // 3):
                enough.set()

    async with started(kind.store(own_server.url, found_within=SOON, answer_within=10.0)) as store:
        await until_it_answers(store)
        for _ in range(2):
            enough.clear()
            writers = [asyncio.create_task(write(store, len(failures) + i)) for i in range(3)]
            await asyncio.wait_for(enough.wait(), 60)
            own_server.kill()
            await asyncio.wait_for(asyncio.gather(*writers), 120)
            own_server.start()
            await until_it_answers(store)
            names = {key.rsplit("/", 1)[0] for key in acknowledged}
            logs = await store.read_log(dict.fromkeys(names, 0))
            stored = {written.id for log in logs.values() for written in log}
            assert acknowledged - stored == set()
        assert len(failures) == 6
        assert len(acknowledged) >= 600


async def test_everything_beside_the_log_outlives_kill_9(kind: Kind, own_server: LocalServer) -> None:
    own_server.start()
    async with started(kind.store(own_server.url, found_within=30.0, answer_within=30.0)) as store:
        await until_it_answers(store)
        headers = [header(f"x{i}", n) for n in (1, 2) for i in range(20)]
        await store.write_headers(headers[:20])
        await store.write_headers(headers[20:])
        await store.put_payloads({"p": ["é", 2**70]})
        await store.put_host(host("h"))
        await store.add_agent(agent("a"))
        await store.put_dead_letter(letter("d"))
        assert await store.claim("c") is True
        await store.add_api_key(api_key())
        audited = link(None, [record(f"r{i}") for i in range(20)])
        assert await store.append_audit(audited) == 20
        await store.add_audit_checkpoint(checkpoint(20))
        own_server.kill()
        own_server.start()
        await until_it_answers(store)
        assert await store.read_headers([row.execution_id for row in headers]) == {
            row.execution_id: row for row in headers[20:]
        }
        assert await store.get_payloads(["p"]) == {"p": ["é", 2**70]}
        assert await store.list_hosts() == [host("h")]
        assert await store.get_agent("a") == agent("a")
        assert await store.get_dead_letter("d") == letter("d")
        assert await store.claim("c") is False
        assert await store.get_api_key(api_key().id) == api_key()
        assert await store.read_audit(0, 50) == audited
        assert await store.read_audit_checkpoints(0, 5) == [checkpoint(20)]


# ---- deaf


async def test_a_server_that_takes_connections_and_never_answers_is_unavailable(kind: Kind) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with started(kind.store(kind.url(port))) as store:
        assert kinds(await outcomes(store)) == dict.fromkeys(OPERATIONS, StoreUnavailable)
    server.close()
