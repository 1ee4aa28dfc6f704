"""TLS and mutual TLS to the real servers: who is let in, what is said to who is not, and that it comes back."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from scripts import servers
from scripts.redis_server import find_redis
from scripts.server_processes import LocalServer, MongoServer, RabbitServer
from scripts.servers import PostgresServer, find_mongodb, find_postgresql, find_rabbitmq
from services.runtime.bus.base import BusError, BusUnavailable
from services.runtime.bus.open import open_bus
from services.runtime.bus.rabbit import RECONNECT_INTERVAL
from services.runtime.settings import Protocol as BusProtocol
from services.runtime.settings import Settings
from services.runtime.store.base import StoreError
from services.runtime.store.open import open_store
from tests.conftest import found_or_not_run, in_ci
from tests.support.bus_faults import until_published
from tests.support.buses import Inbox, World, frame
from tests.support.certificates import Authority, Certificate
from tests.support.stores import until_it_answers
from tests.support.tls_servers import TlsMongo, TlsPostgres, TlsRabbit, TlsRedis

PATIENCE = 60.0


class Place:
    """A server that speaks TLS, and what connects to it with given files."""

    def __init__(self, server: LocalServer, settings: Callable[[str], dict[str, Any]]) -> None:
        self.server = server
        self._settings = settings

    def settings(self, mine: Certificate | None, ca: Path, host: str = "127.0.0.1") -> Settings:
        files: dict[str, Any] = {"tls_ca": ca}
        if mine is not None:
            files |= {"tls_certificate": mine.certificate, "tls_key": mine.key}
        return Settings(**self._settings(host), **files)


def _rabbit(server: TlsRabbit) -> Place:
    def settings(host: str) -> dict[str, Any]:
        url = server.tls_url.replace("127.0.0.1", host)
        return {"communication_protocol": BusProtocol.RABBITMQ, "rabbitmq_url": url}

    return Place(server, settings)


def _redis(server: TlsRedis) -> Place:
    def settings(host: str) -> dict[str, Any]:
        return {"communication_protocol": BusProtocol.REDIS, "redis_url": server.url.replace("127.0.0.1", host)}

    return Place(server, settings)


def _store(server: TlsMongo | TlsPostgres) -> Place:
    return Place(server, lambda host: {"database_url": server.url.replace("127.0.0.1", host)})


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Certificate], Place]]] = {
    "rabbitmq": (
        lambda: find_rabbitmq(own=True, containers=False, install=in_ci()),
        lambda files: _rabbit(TlsRabbit(files)),
    ),
    "redis": (lambda: find_redis(own=True, install=in_ci()), lambda files: _redis(TlsRedis(files))),
    "mongodb": (lambda: find_mongodb(own=True, containers=False), lambda files: _store(TlsMongo(files))),
    "postgres": (
        lambda: find_postgresql(own=True, containers=False, install=in_ci()),
        lambda files: _store(TlsPostgres(files)),
    ),
}
EVERY = [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in KINDS]
STORES = ("mongodb", "postgres")


@contextlib.contextmanager
def running(kind: str, certificate: Certificate) -> Iterator[Place]:
    """A server of its own, with this certificate. Where its program is not there, the test is not run."""
    find, place_of = KINDS[kind]
    if not _program_is_there(kind):
        found_or_not_run(find).stop()
    place = place_of(certificate)
    with place.server:
        yield place


def _program_is_there(kind: str) -> bool:
    programs = {
        "rabbitmq": servers.rabbitmq_program,
        "mongodb": servers.secantus_program,
        "postgres": servers.postgres_programs,
    }
    return kind in programs and programs[kind]() is not None


@pytest.fixture(scope="module")
def places(authority: Authority) -> Iterator[Callable[[str], Place]]:
    """One server of each kind with a good certificate."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Place] = {}

        def place(kind: str) -> Place:
            if kind not in found:
                found[kind] = stack.enter_context(running(kind, authority.issue("server", "127.0.0.1")))
            return found[kind]

        yield place


@contextlib.asynccontextmanager
async def connected(kind: str, settings: Settings) -> AsyncIterator[Any]:
    """A started bus, or a store that was told to start."""
    if kind in STORES:
        store = open_store(settings)
        await store.start()
        try:
            yield store
        finally:
            await store.stop()
    else:
        bus = open_bus(settings, "edge")
        try:
            await bus.start()
            yield bus
        finally:
            await bus.close()


@pytest.mark.parametrize("kind", EVERY)
async def test_both_sides_show_a_certificate(places: Any, authority: Authority, kind: str) -> None:
    settings = places(kind).settings(authority.issue("me"), authority.ca)
    async with asyncio.timeout(PATIENCE), connected(kind, settings) as one:
        if kind in STORES:
            await until_it_answers(one)
            assert await one.get_workflow("none") is None
        else:
            world, inbox = World(lambda _: one), Inbox()
            queue = world.queue()
            await one.subscribe(queue, inbox, prefetch=5).start()
            await one.publish([frame(world.key(), "secret")])
            await inbox.wait_for(1)
            assert inbox.bodies == ["secret"]


# What PostgreSQL says of a client's bad certificate goes down with the connection: its driver does not read so far.
SILENT = {("postgres", "of a stranger"), ("postgres", "expired")}
CLIENTS = {
    "none": "the server wants a certificate of this service|requires a valid client certificate",
    "of a stranger": "the server does not trust the authority of TLS_CERTIFICATE",
    "expired": "the server says that TLS_CERTIFICATE has expired",
}
# What is said of a connection that was not made in time.
SLOW = re.compile("Timeout|timed out|No servers found yet")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", EVERY)
async def test_a_client_that_the_server_does_not_trust(
    places: Any, authority: Authority, stranger: Authority, kind: str, client: str
) -> None:
    shown = {
        "none": None,
        "of a stranger": stranger.issue("intruder"),
        "expired": authority.issue("old", days=-1),
    }[client]
    words = "closed in the middle" if (kind, client) in SILENT else CLIENTS[client]
    await _is_refused(kind, places(kind).settings(shown, authority.ca), words, at_once=False)


@pytest.mark.parametrize("kind", EVERY)
async def test_a_server_of_an_authority_that_is_not_trusted(
    places: Any, authority: Authority, stranger: Authority, kind: str
) -> None:
    settings = places(kind).settings(authority.issue("me"), stranger.ca)
    await _is_refused(kind, settings, "not from an authority that TLS_CA trusts")


@pytest.mark.parametrize("kind", EVERY)
async def test_a_server_that_is_another_host(places: Any, authority: Authority, kind: str) -> None:
    """The certificate says 127.0.0.1, and the URL another name of the same machine."""
    settings = places(kind).settings(authority.issue("me"), authority.ca, host="localhost")
    await _is_refused(kind, settings, "for another host than the URL names")


@pytest.mark.parametrize("kind", EVERY)
async def test_a_server_whose_certificate_has_expired(authority: Authority, kind: str) -> None:
    with running(kind, authority.issue("old-server", "127.0.0.1", days=-1)) as place:
        settings = place.settings(authority.issue("me"), authority.ca)
        await _is_refused(kind, settings, "the server's certificate has expired")


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        pytest.param("rabbitmq", lambda: RabbitServer(), marks=pytest.mark.rabbitmq),
        pytest.param("mongodb", lambda: MongoServer(), marks=pytest.mark.mongodb),
        pytest.param("postgres", lambda: PostgresServer(), marks=pytest.mark.postgres),
    ],
)
async def test_a_server_that_speaks_no_tls_is_not_spoken_to(
    authority: Authority, kind: str, plain: Callable[[], LocalServer]
) -> None:
    """A server that would take the password unencrypted does not get it."""
    if not _program_is_there(kind):
        found_or_not_run(KINDS[kind][0]).stop()
    with plain() as server:
        url = str(server.url).replace("amqp://", "amqps://")
        address: dict[str, Any] = {"rabbitmq_url" if kind == "rabbitmq" else "database_url": url}
        # The embedded store waits for the rest of what it takes for a long message of its own protocol.
        words = "No servers found yet|timed out" if kind == "mongodb" else "does not speak TLS|has TLS switched off"
        await _is_refused(kind, Settings(tls_ca=authority.ca, **address), words)


async def _is_refused(kind: str, settings: Settings, words: str, *, at_once: bool = True) -> None:
    """A bus fails at its start and does not wait; a store says why it cannot be used, and goes on trying.

    ``at_once`` False: TLS 1.3 tells a client after the handshake that its certificate is refused. If the connection is
    closed before the client has read it, the next attempt tells.
    """
    with capture_logs() as logs:
        async with asyncio.timeout(PATIENCE):
            error = await _error_of(kind, settings)
            while kind in STORES and _may_say_more(error, words, at_once=at_once):
                error = await _error_of(kind, settings)
    assert re.search(words, str(error)), error
    assert type(error) is not BusUnavailable
    if at_once:
        waited = [entry for entry in logs if str(entry.get("event", "")).startswith("waiting for")]
        assert [entry for entry in waited if not SLOW.search(str(entry["error"]))] == []


def _may_say_more(error: Exception, words: str, *, at_once: bool) -> bool:
    """Of a server that was too slow for the store's patience, or read too late, the next attempt tells."""
    return not re.search(words, str(error)) and (not at_once or bool(SLOW.search(str(error))))


async def _error_of(kind: str, settings: Settings) -> Exception:
    with pytest.raises(StoreError if kind in STORES else BusError) as raised:
        await _connect(kind, settings)
    return raised.value


async def _connect(kind: str, settings: Settings) -> None:
    async with connected(kind, settings) as one:
        if kind in STORES:
            await one.ping()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in KINDS if kind not in STORES]
)
async def test_a_bus_connects_again_over_tls(authority: Authority, kind: str) -> None:
    """After a restart of the broker, with a renewed certificate of its own."""
    certificate = authority.issue("renewed", "127.0.0.1")
    with running(kind, certificate) as place:
        settings = place.settings(authority.issue("me"), authority.ca)
        async with asyncio.timeout(2 * PATIENCE), connected(kind, settings) as bus:
            world, inbox = World(lambda _: bus), Inbox()
            queue = world.queue()
            await bus.subscribe(queue, inbox, prefetch=5).start()
            authority.issue("renewed", "127.0.0.1")
            await asyncio.to_thread(place.server.restart)
            await until_published(bus, frame(world.key(), "after"))
            await inbox.wait_until(lambda: "after" in inbox.bodies)


@pytest.mark.rabbitmq
async def test_a_broker_whose_new_certificate_is_refused_is_waited_for_and_told_of(
    authority: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """A running service does not end over it: the right certificate brings it back."""
    good = authority.issue("changing", "127.0.0.1")
    with running("rabbitmq", good) as place:
        settings = place.settings(authority.issue("me"), authority.ca)
        async with asyncio.timeout(2 * PATIENCE), connected("rabbitmq", settings) as bus:
            right = {path: path.read_bytes() for path in (good.certificate, good.key)}
            wrong = stranger.issue("wrong", "127.0.0.1")
            good.certificate.write_bytes(wrong.certificate.read_bytes())
            good.key.write_bytes(wrong.key.read_bytes())
            await asyncio.to_thread(place.server.restart)
            while "not from an authority that TLS_CA trusts" not in caplog.text:
                await asyncio.sleep(0.05)
            await asyncio.sleep(RECONNECT_INTERVAL)
            assert not bus.connected
            for path, content in right.items():
                path.write_bytes(content)
            await asyncio.to_thread(place.server.restart)
            world = World(lambda _: bus)
            await until_published(bus, frame(world.event("happened")))
            assert bus.connected
