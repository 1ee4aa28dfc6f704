"""Find or start the servers Conclave needs: RabbitMQ, a MongoDB wire-protocol server, PostgreSQL.

``find_rabbitmq()``, ``find_mongodb()`` and ``find_postgresql()`` return a running :class:`Server` or raise
:class:`ServerNotFound`, which says for every way what was missing. A server is a context manager that stops what it
started::

    with find_rabbitmq() as rabbit:
        run(rabbit.url)

Only the standard library is imported here; testcontainers is looked for when it is needed.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.debian_packages import installed_from_debian
from scripts.postgres_server import PostgresServer, postgres_programs, takes_postgres_login
from scripts.server_processes import (
    START_TIMEOUT,
    LocalServer,
    MongoServer,
    RabbitServer,
    Server,
    ServerFailed,
    free_port,
    rabbitmq_program,
    secantus_program,
    takes_amqp_login,
)

__all__ = [
    "ContainerServer",
    "GivenServer",
    "LocalServer",
    "MongoServer",
    "PostgresServer",
    "RabbitServer",
    "Server",
    "ServerFailed",
    "ServerNotFound",
    "find_mongodb",
    "find_postgresql",
    "find_rabbitmq",
    "first_found",
    "free_port",
    "from_variable",
    "installed_from_debian",
    "postgres_programs",
    "rabbitmq_program",
    "secantus_program",
    "started",
    "takes_amqp_login",
    "takes_postgres_login",
]

# What containers are made of; a variable of the same name names another, of an own registry for example.
RABBITMQ_IMAGE = "rabbitmq:4"
MONGO_IMAGE = "mongo:8"
POSTGRES_IMAGE = "postgres:17"

_MONGODB_URL = ("mongodb://", "mongodb+srv://")
_POSTGRES_URL = ("postgresql://", "postgres://")


class ServerNotFound(Exception):
    """No way to have this server led to one; the message lists every way and why it failed."""


class GivenServer(Server):
    """One that somebody else runs: it is neither started nor stopped."""

    def __init__(self, url: str, origin: str) -> None:
        self.url = url
        self.origin = origin


class ContainerServer(Server):
    """A container, on a fixed port of this host so that its address outlives a restart."""

    def __init__(
        self,
        image: str,
        inner_port: int,
        url: str,
        answers: Callable[[str, int], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        from testcontainers.core.container import DockerContainer

        self._image = image
        self.port = free_port()
        self._answers = answers
        self._container: Any = DockerContainer(image).with_bind_ports(inner_port, self.port)
        self._container.with_envs(**(environment or {}))
        self._begun = False
        self._host = "localhost"
        self._url = url
        self.origin = f"container {image}"

    @property
    def url(self) -> str:  # type: ignore[override]
        return self._url.format(host=self._host, port=self.port)

    def start(self) -> None:
        if self._begun:
            self._container.get_wrapped_container().start()
        else:
            self._provide_image()
            _do_without_watcher_if_need_be()
            try:
                self._container.start()
            except Exception:
                self._container.stop()  # which removes what was made of it
                raise
            self._begun = True
            self._host = self._container.get_container_host_ip()
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers(self._host, self.port):
            if time.monotonic() > deadline:
                self.__exit__()
                raise ServerFailed(f"{self.origin} did not answer in {START_TIMEOUT:.0f} s")
            time.sleep(0.2)

    def stop(self) -> None:
        if self._begun:
            self._container.get_wrapped_container().stop()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def __exit__(self, *_: object) -> None:
        if self._begun:
            self._container.stop()
            self._begun = False

    def _provide_image(self) -> None:
        """Before anything else is fetched: where there is no registry, this says so once."""
        from docker.errors import ImageNotFound

        images = self._container.get_docker_client().client.images
        try:
            images.get(self._image)
        except ImageNotFound:
            images.pull(self._image)


def _do_without_watcher_if_need_be() -> None:
    """What a process leaves behind that was killed, testcontainers removes by a container of its own, whose image may
    not be there and not be had. Then it is done without: what ends in good order removes its containers itself."""
    from docker.errors import DockerException
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import Reaper

    if testcontainers_config.ryuk_disabled:
        return
    try:
        Reaper.get_instance()
    except DockerException:
        Reaper.delete_instance()
        testcontainers_config.ryuk_disabled = True


def _image(variable: str, default: str) -> str:
    return os.environ.get(variable) or default


def find_rabbitmq(*, own: bool = False, containers: bool = True, install: bool = False) -> Server:
    """A running RabbitMQ: ``RABBITMQ_URL``, a broker on localhost:5672, a container, a node of our own from the
    ``rabbitmq-server`` on the PATH, or, with ``install``, from Debian's package where the user is root.

    Args:
        own: only one that may be stopped and killed, so neither of the first two.
        containers: whether a container may be started.
        install: whether a package may be installed.

    Raises:
        ServerNotFound: saying why each way failed.
    """
    ways: list[tuple[str, Callable[[], Server | None]]] = []
    if not own:
        ways.append(("RABBITMQ_URL is not set", lambda: from_variable("RABBITMQ_URL")))
        ways.append(("no broker on localhost:5672 takes guest's login", _rabbitmq_on_localhost))
    if containers:
        ways.append(("no Docker through testcontainers", _rabbitmq_container))
    ways.append(("no rabbitmq-server on the PATH", _rabbitmq_on_path))
    if install:
        ways.append(("Debian's package rabbitmq-server cannot be installed", _rabbitmq_from_debian))
    return first_found("RabbitMQ", ways)


def find_mongodb(
    folder: Path | None = None, *, own: bool = False, containers: bool = True, python: str = sys.executable
) -> Server:
    """A running MongoDB or something that speaks its protocol: the ``DATABASE_URL`` of one, a container, or the
    embedded store with its data in ``folder``.

    Args:
        own: only one that may be stopped and killed, so not the first.
        containers: whether a container may be started.
        python: interpreter of the virtual environment that the embedded store is installed in.

    Raises:
        ServerNotFound: saying why each way failed.
    """
    ways: list[tuple[str, Callable[[], Server | None]]] = []
    if not own:
        ways.append(("DATABASE_URL is not set to one", lambda: from_variable("DATABASE_URL", _MONGODB_URL)))
    if containers:
        ways.append(("no Docker through testcontainers", _mongodb_container))
    ways.append(("SecantusDB is not installed", lambda: _mongodb_embedded(folder, python)))
    return first_found("MongoDB", ways)


def find_postgresql(*, own: bool = False, containers: bool = True, install: bool = False) -> Server:
    """A running PostgreSQL: the ``DATABASE_URL`` of one, or the ``POSTGRES_URL`` where that one is a MongoDB's, a
    container, a server of our own from the programs on the PATH or where Debian keeps them, or, with ``install``, from
    Debian's package where the user is root.

    Args:
        own: only one that may be stopped and killed, so neither of the URLs'.
        containers: whether a container may be started.
        install: whether a package may be installed.

    Raises:
        ServerNotFound: saying why each way failed.
    """
    ways: list[tuple[str, Callable[[], Server | None]]] = []
    if not own:
        ways.append(("DATABASE_URL is not set to one", lambda: from_variable("DATABASE_URL", _POSTGRES_URL)))
        ways.append(("POSTGRES_URL is not set to one", lambda: from_variable("POSTGRES_URL", _POSTGRES_URL)))
    if containers:
        ways.append(("no Docker through testcontainers", _postgres_container))
    ways.append(("no initdb and postgres on the PATH or in /usr/lib/postgresql", _postgres_on_path))
    if install:
        ways.append(("Debian's package postgresql cannot be installed", _postgres_from_debian))
    return first_found("PostgreSQL", ways)


def first_found(what: str, ways: Sequence[tuple[str, Callable[[], Server | None]]]) -> Server:
    """The server that the first way leads to; each is given with the reason why it might not.

    Raises:
        ServerNotFound: saying why each way failed.
    """
    reasons = []
    for missing, way in ways:
        try:
            server = way()
        except Exception as error:
            reasons.append(f"{missing}: {error}")
            continue
        if server is not None:
            return server
        reasons.append(missing)
    raise ServerNotFound(f"{what} is not available: " + "; ".join(reasons))


def from_variable(name: str, begins: tuple[str, ...] = ("",)) -> Server | None:
    """The server at the URL in an environment variable, if that begins as it should."""
    url = os.environ.get(name)
    return GivenServer(url, name) if url and url.startswith(begins) else None


def _rabbitmq_on_localhost() -> Server | None:
    if not takes_amqp_login("localhost", 5672):
        return None
    return GivenServer("amqp://guest:guest@localhost:5672/", "localhost:5672")


def _rabbitmq_container() -> Server | None:
    return started(
        ContainerServer(
            _image("RABBITMQ_IMAGE", RABBITMQ_IMAGE), 5672, "amqp://guest:guest@{host}:{port}/", takes_amqp_login
        )
    )


def _mongodb_container() -> Server | None:
    def answers(host: str, port: int) -> bool:
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError

        client: MongoClient[Any] = MongoClient(host, port, serverSelectionTimeoutMS=1000)
        with client, contextlib.suppress(PyMongoError):
            return bool(client.admin.command("ping")["ok"])
        return False

    return started(
        ContainerServer(_image("MONGO_IMAGE", MONGO_IMAGE), 27017, "mongodb://{host}:{port}/conclave", answers)
    )


def _rabbitmq_on_path() -> Server | None:
    return started(RabbitServer()) if rabbitmq_program() else None


def _rabbitmq_from_debian() -> Server | None:
    return _rabbitmq_on_path() if installed_from_debian("rabbitmq-server") else None


def _postgres_container() -> Server | None:
    return started(
        ContainerServer(
            _image("POSTGRES_IMAGE", POSTGRES_IMAGE),
            5432,
            "postgresql://postgres@{host}:{port}/conclave",
            lambda host, port: takes_postgres_login(host, port, "postgres", "conclave"),
            {"POSTGRES_HOST_AUTH_METHOD": "trust", "POSTGRES_DB": "conclave"},
        )
    )


def _postgres_on_path() -> Server | None:
    return started(PostgresServer()) if postgres_programs() else None


def _postgres_from_debian() -> Server | None:
    return _postgres_on_path() if installed_from_debian("postgresql") else None


def _mongodb_embedded(folder: Path | None, python: str) -> Server | None:
    if secantus_program(python) is None:
        return None
    server = MongoServer(folder, python=python)
    server.dies_with_us = True
    return started(server)


def started(server: Server) -> Server:
    """The same server, running."""
    server.start()
    return server
