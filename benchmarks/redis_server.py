"""A Redis of our own, for the peers that keep results in one."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence

from scripts.server_processes import HOST, LocalServer, ServerFailed
from scripts.servers import ServerNotFound


class RedisServer(LocalServer):
    """``redis-server`` with its append-only file, which is what those who keep results in it are told to use."""

    dies_with_us = True

    def __init__(self) -> None:
        super().__init__()
        self.url = f"redis://{HOST}:{self.port}/0"
        self.origin = f"redis-server in {self.folder}"

    def _command(self) -> Sequence[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise ServerFailed("redis-server is not on the PATH")
        return [program, "--bind", HOST, "--port", str(self.port), "--appendonly", "yes", "--save", ""]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.settimeout(2)
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


def find_redis(*, install: bool = False) -> RedisServer:
    """A Redis of our own, from the PATH or, with ``install``, from Debian's package where the user is root.

    Raises:
        ServerNotFound: there is neither.
    """
    if shutil.which("redis-server") is None and install:
        _install()
    if shutil.which("redis-server") is None:
        raise ServerNotFound("Redis is not available: no redis-server on the PATH")
    server = RedisServer()
    server.start()
    return server


def _install() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    # With RUNLEVEL=1 the package does not start a server of its own beside ours.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "redis-server"]):
        done = subprocess.run(
            ["apt-get", "--quiet", *command], env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise ServerNotFound(f"Redis is not available: apt-get {command[0]} failed: {done.stderr[-500:]}")
