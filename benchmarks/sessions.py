"""The servers of a session: found, started or installed, and stopped again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from benchmarks.rounds import Servers
from scripts.redis_server import find_redis
from scripts.servers import Server, ServerFailed, ServerNotFound, find_mongodb, find_postgresql, find_rabbitmq

KINDS = ("rabbitmq", "mongodb", "postgresql", "redis")


@dataclass(frozen=True, slots=True)
class Session:
    """Servers, in words where each came from (``origins``), and why one that was wanted is ``missing``."""

    servers: Servers
    origins: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def servers_for(wanted: set[str], given: Mapping[str, str], say: Callable[[str], None]) -> Iterator[Session]:
    """Servers of these ``KINDS`` while the body runs.

    A server of our own is preferred, as a process on this machine, so that its processor time and memory can be seen
    and nobody's data is near; Debian's package is installed where we are root; then a container is tried. ``given``
    are URLs of servers to use instead, by kind.
    """
    urls: dict[str, str] = {}
    origins: dict[str, str] = {}
    missing: dict[str, str] = {}
    with ExitStack() as running:
        for kind in KINDS:
            if kind not in wanted:
                continue
            if kind in given:
                urls[kind], origins[kind] = given[kind], "given"
                continue
            say(f"starting {kind} ...")
            try:
                server = running.enter_context(_find(kind))
            except (ServerNotFound, ServerFailed) as error:
                missing[kind] = str(error)
                say(f"no {kind}: {error}")
                continue
            urls[kind], origins[kind] = server.url, server.origin
            say(f"{kind}: {server.origin}")
        yield Session(Servers(**{f"{kind}_url": url for kind, url in urls.items()}), origins, missing)


def _find(kind: str) -> Server:
    """
    Raises:
        ServerNotFound: saying why each way failed.
    """
    if kind == "redis":
        return find_redis(own=True, install=True)
    find = {"rabbitmq": find_rabbitmq, "postgresql": find_postgresql}.get(kind)
    if find is None:
        return _local_first(partial(find_mongodb, own=True, containers=False), partial(find_mongodb, own=True))
    return _local_first(partial(find, own=True, containers=False, install=True), partial(find, own=True))


def _local_first(local: Callable[[], Server], otherwise: Callable[[], Server]) -> Server:
    try:
        return local()
    except ServerNotFound:
        return otherwise()
