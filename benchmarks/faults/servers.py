"""The servers of a run: a RabbitMQ and a store of its own, which can be killed and stopped."""

import contextlib
import signal
from urllib.parse import urlsplit

import psutil

from scripts.postgres_server import PostgresServer, postgres_programs
from scripts.server_processes import LocalServer, MongoServer, RabbitServer, rabbitmq_program, secantus_program

STORES = ("mongodb", "postgresql")


class ServerNotAvailable(Exception):
    """A server that was asked for is not installed here."""


def rabbit_server() -> LocalServer:
    """A broker's server, not started yet. Its data is in a folder of its own, deleted when it is closed.

    Raises:
        ServerNotAvailable: RabbitMQ is not installed.
    """
    if rabbitmq_program() is None:
        raise ServerNotAvailable("there is no rabbitmq-server on the PATH")
    return RabbitServer()


def store_server(store: str) -> LocalServer:
    """A store's server, the same way: ``mongodb`` is the embedded one.

    Raises:
        ServerNotAvailable: no such store, or its server is not installed.
    """
    if store == "mongodb" and secantus_program() is not None:
        server = MongoServer()
        server.dies_with_us = True
        return server
    if store == "postgresql" and postgres_programs() is not None:
        return PostgresServer()
    if store in STORES:
        raise ServerNotAvailable(f"no server of {store} is installed here")
    raise ServerNotAvailable(f"{store!r} is no store; there are: {', '.join(STORES)}")


def pause(server: LocalServer) -> None:
    _signal(server, signal.SIGSTOP)


def resume(server: LocalServer) -> None:
    _signal(server, signal.SIGCONT)


def through(url: str, port: int) -> str:
    """The URL of a server on this host with another port.

    A MongoDB client is told to stay there: it would ask for the members of the replica set, and go past the proxy.
    """
    parts = urlsplit(url)
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    changed = parts._replace(netloc=f"{login}127.0.0.1:{port}")
    if parts.scheme == "mongodb":
        changed = changed._replace(query="&".join(filter(None, [parts.query, "directConnection=true"])))
    return changed.geturl()


def _signal(server: LocalServer, number: signal.Signals) -> None:
    """Signal every process of a server. Not by its process group: PostgreSQL's backends each have their own."""
    if server.pid is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(server.pid)
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
