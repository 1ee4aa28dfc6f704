"""Finding and running Redis."""

import re
import shutil
import socket
import threading
from pathlib import Path

import pytest

from scripts import redis_server
from scripts.redis_server import RedisServer, answers_ping, described, find_redis
from scripts.servers import GivenServer, ServerFailed, ServerNotFound, free_port

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="not run: no redis-server on the PATH")


def test_a_given_redis_comes_first_and_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://there:6379/3")
    with find_redis() as server:
        assert isinstance(server, GivenServer)
        assert (server.url, server.origin) == ("redis://there:6379/3", "REDIS_URL")
        with pytest.raises(ServerFailed, match="not ours"):
            server.kill()


def test_what_cannot_be_found_says_why_each_way_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(redis_server, "answers_ping", lambda *_: False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerNotFound) as caught:
        find_redis()
    for way in ("REDIS_URL is not set", "no Redis on localhost:6379", "no redis-server on the PATH"):
        assert way in str(caught.value)


def test_nothing_and_something_else_are_no_redis() -> None:
    assert not answers_ping("127.0.0.1", free_port())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        port = listener.getsockname()[1]
        assert not answers_ping("127.0.0.1", port)  # it takes the connection and says nothing


@needs_redis
def test_our_own_redis_keeps_what_it_was_told_when_it_is_killed(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        assert re.fullmatch(r"[0-9.]+, appendonly yes, appendfsync everysec", described(server.url))
        assert say(server, "SET kept 1") == "+OK\r\n"
        server.kill()
        assert not answers_ping("127.0.0.1", server.port)
        server.start()
        assert say(server, "GET kept") == "$1\r\n1\r\n"
    assert not server.running
    assert not answers_ping("127.0.0.1", server.port)


@needs_redis
def test_one_of_our_own_is_found_even_where_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://there:6379/3")
    with find_redis(own=True) as server:
        assert isinstance(server, RedisServer)
        assert answers_ping("127.0.0.1", server.port)
    assert not server.folder.exists()


def test_a_redis_that_wants_a_password_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(b"-NOAUTH Authentication required.\r\n")

        speaker = threading.Thread(target=refuse)
        speaker.start()
        with pytest.raises(ValueError, match="NOAUTH"):
            described(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        speaker.join()


def say(server: RedisServer, command: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(1024).decode()
