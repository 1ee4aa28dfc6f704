"""Find or start a Redis server, as ``scripts.servers`` does for the others: benchmarks of systems that keep results
in it need one.

Only the standard library is imported here.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import contextlib
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.server_processes import HOST, LocalServer, Server
from scripts.servers import GivenServer, first_found, from_variable, installed_from_debian, started

_PORT = 6379


class RedisServer(LocalServer):
    """A Redis of our own that appends every write to a file and flushes it to the disk once a second, which is what
    Redis recommends for data that matters: a crash of the machine may lose the last second."""

    dies_with_us = True

    def __init__(self, folder: Path | None = None, port: int | None = None) -> None:
        super().__init__(folder, port)
        self.url = f"redis://{HOST}:{self.port}/0"
        self.origin = f"redis-server in {self.folder}, appendonly yes, appendfsync everysec"

    def _command(self) -> Sequence[str]:
        program = shutil.which("redis-server") or "redis-server"
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
        }
        return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _answers(self) -> bool:
        return answers_ping(HOST, self.port)


def find_redis(*, own: bool = False, install: bool = False) -> Server:
    """A running Redis: ``REDIS_URL``, a server on localhost:6379, one of our own from the ``redis-server`` on the
    PATH, or, with ``install``, from Debian's package where the user is root.

    Args:
        own: only one of our own, with its settings known, so neither of the first two.
        install: whether a package may be installed.

    Raises:
        ServerNotFound: saying why each way failed.
    """
    ways: list[tuple[str, Callable[[], Server | None]]] = []
    if not own:
        ways.append(("REDIS_URL is not set", lambda: from_variable("REDIS_URL")))
        ways.append((f"no Redis on localhost:{_PORT}", _on_localhost))
    ways.append(("no redis-server on the PATH", _on_path))
    if install:
        ways.append(("Debian's package redis-server cannot be installed", _from_debian))
    return first_found("Redis", ways)


def answers_ping(host: str, port: int) -> bool:
    """Whether a Redis there takes commands without a password."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16) == b"+PONG\r\n"
    return False


def described(url: str) -> str:
    """Version of the Redis at ``url`` and how it keeps what it is told: ``7.0.15, appendonly yes, …``.

    Raises:
        OSError: it cannot be reached.
        ValueError: it says something else than expected: it may want a password, which is not given here.
    """
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or HOST, parts.port or _PORT), timeout=5) as connection:
        stream = connection.makefile("rwb")
        told = [f"{name} {_asked(stream, f'CONFIG GET {name}')[-1]}" for name in ("appendonly", "appendfsync")]
        info = dict(line.partition(":")[::2] for line in "".join(_asked(stream, "INFO server")).splitlines())
    return ", ".join([info["redis_version"], *told])


def _asked(stream: Any, command: str) -> list[str]:
    """The strings of an answer that is one string or an array of them."""
    stream.write(command.encode() + b"\r\n")
    stream.flush()
    head = stream.readline()
    if head[:1] not in (b"*", b"$"):
        raise ValueError(f"Redis answered {head!r} to {command}")
    if head[:1] == b"$":
        return [stream.read(int(head[1:]) + 2).decode()]
    return [stream.read(int(stream.readline()[1:]) + 2).decode().strip() for _ in range(int(head[1:]))]


def _on_localhost() -> Server | None:
    if not answers_ping("localhost", _PORT):
        return None
    return GivenServer(f"redis://localhost:{_PORT}/0", f"localhost:{_PORT}")


def _on_path() -> Server | None:
    return started(RedisServer()) if shutil.which("redis-server") else None


def _from_debian() -> Server | None:
    return _on_path() if installed_from_debian("redis-server") else None
