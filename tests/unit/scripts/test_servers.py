"""Finding and running servers. That a RabbitMQ node stops, dies and starts again is in tests/integration."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pymongo import MongoClient

from scripts import servers
from scripts.servers import (
    GivenServer,
    MongoServer,
    RabbitServer,
    ServerFailed,
    ServerNotFound,
    find_mongodb,
    find_postgresql,
    find_rabbitmq,
    free_port,
    takes_amqp_login,
)

ROOT = Path(__file__).resolve().parents[3]


def test_a_given_server_comes_first_and_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://there:5672/")
    monkeypatch.setenv("DATABASE_URL", "mongodb://there:27017/db")
    with find_rabbitmq() as rabbit, find_mongodb() as mongo:
        assert isinstance(rabbit, GivenServer)
        assert (rabbit.url, rabbit.origin) == ("amqp://there:5672/", "RABBITMQ_URL")
        assert (mongo.url, mongo.origin) == ("mongodb://there:27017/db", "DATABASE_URL")
        rabbit.restart()
        with pytest.raises(ServerFailed, match="not ours"):
            mongo.kill()


@pytest.mark.parametrize(
    ("url", "mongodb", "postgresql"),
    [
        ("mongodb://there/db", True, False),
        ("mongodb+srv://there/db", True, False),
        ("postgresql://there/db", False, True),
        ("postgres://there/db", False, True),
    ],
)
def test_the_url_of_one_database_is_not_taken_for_the_other(
    url: str, mongodb: bool, postgresql: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.delenv("POSTGRES_URL", raising=False)
    monkeypatch.setattr(servers, "secantus_program", lambda *_: None)
    monkeypatch.setattr(servers, "postgres_programs", lambda: None)
    for given, find in ((mongodb, find_mongodb), (postgresql, find_postgresql)):
        if given:
            assert find(containers=False).url == url
        else:
            with pytest.raises(ServerNotFound, match="DATABASE_URL is not set to one"):
                find(containers=False)


def test_postgresql_may_be_given_beside_mongodb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mongodb://there/db")
    monkeypatch.setenv("POSTGRES_URL", "postgresql://there/db")
    assert (find_mongodb().url, find_postgresql().url) == ("mongodb://there/db", "postgresql://there/db")
    assert find_postgresql().origin == "POSTGRES_URL"


def test_what_cannot_be_found_says_why_each_way_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RABBITMQ_URL", raising=False)
    monkeypatch.setattr(servers, "rabbitmq_program", lambda: None)
    monkeypatch.setattr(servers, "takes_amqp_login", lambda *_: False)
    with pytest.raises(ServerNotFound) as caught:
        find_rabbitmq(containers=False)
    for way in ("RABBITMQ_URL is not set", "localhost:5672", "no rabbitmq-server on the PATH"):
        assert way in str(caught.value)

    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(ServerNotFound, match="SecantusDB is not installed"):
        find_mongodb(containers=False, python="/nowhere/bin/python")

    monkeypatch.delenv("POSTGRES_URL", raising=False)
    monkeypatch.setattr(servers, "postgres_programs", lambda: None)
    with pytest.raises(ServerNotFound, match="no initdb and postgres on the PATH"):
        find_postgresql(containers=False)


def test_a_way_that_breaks_is_a_reason_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the daemon is asleep")

    monkeypatch.setattr(servers, "_mongodb_container", broken)
    with pytest.raises(ServerNotFound, match="the daemon is asleep"):
        find_mongodb(own=True, python="/nowhere/bin/python")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01"])
def test_what_is_no_rabbitmq_takes_no_login(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        speaker = threading.Thread(target=speak)
        speaker.start()
        assert not takes_amqp_login("127.0.0.1", listener.getsockname()[1])
        speaker.join()
    assert not takes_amqp_login("127.0.0.1", free_port())


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a port cannot be kept and listened on at once")
def test_a_free_port_is_ours_alone_and_can_be_listened_on() -> None:
    port = free_port()
    others = [socket.socket() for _ in range(200)]
    for other in others:
        other.bind(("127.0.0.1", 0))
    assert port not in {other.getsockname()[1] for other in others} | {free_port() for _ in range(200)}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
        pass
    for other in others:
        other.close()


def test_a_server_that_ends_at_once_shows_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = MongoServer(tmp_path)
    monkeypatch.setattr(server, "_command", lambda: ["sh", "-c", "echo the disk is full; exit 3"])
    with pytest.raises(ServerFailed, match=r"(?s)code 3.*the disk is full"):
        server.start()
    assert not server.running


@pytest.mark.mongodb
def test_the_embedded_store_keeps_what_was_acknowledged_when_it_is_killed(tmp_path: Path) -> None:
    with MongoServer(tmp_path, database="kept") as server:
        first = server.pid
        with MongoClient(server.url) as client:
            client.kept.things.insert_many([{"_id": number} for number in range(50)])
        server.kill()
        assert not server.running
        server.start()
        assert server.pid != first
        with MongoClient(server.url) as client:
            assert client.kept.things.count_documents({}) == 50
    assert not server.running
    assert (tmp_path / "data").exists()


@pytest.mark.mongodb
def test_a_temporary_folder_goes_with_its_server() -> None:
    server = MongoServer()
    with server:
        assert server.folder.exists()
    assert not server.folder.exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_is_found_ends_with_whoever_found_it(how: signal.Signals) -> None:
    script = (
        "import time; from scripts.servers import find_mongodb;"
        " server = find_mongodb(own=True, containers=False); print(server.port, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as finder:
        assert finder.stdout is not None
        port = int(finder.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)):
            finder.send_signal(how)
            finder.wait()
    deadline = time.monotonic() + 60
    while listens(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not listens(port)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_two_nodes_share_nothing() -> None:
    first, second = RabbitServer(), RabbitServer()
    try:
        mine, other = first._environment(), second._environment()
        apart = {"RABBITMQ_NODE_PORT", "RABBITMQ_DIST_PORT", "RABBITMQ_MNESIA_BASE", "ERL_EPMD_PORT", "HOME"}
        assert [name for name in apart if mine[name] == other[name]] == []
    finally:
        first.close()
        second.close()
