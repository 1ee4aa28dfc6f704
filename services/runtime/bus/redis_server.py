"""What the bus wants of a Redis server, and says in the log where it is otherwise."""

from typing import Protocol

import structlog

from services.runtime.bus.base import BusError, BusUnavailable

log = structlog.get_logger(__name__)

OLDEST = (7, 0)


class Commands(Protocol):
    async def command(self, *words: str | bytes | int) -> object: ...


async def advise(link: Commands, where: str) -> None:
    """Ask Redis how it is set up, and warn of what can lose messages.

    Raises:
        BusError: it is older than this bus can use. BusUnavailable: the connection was lost.
    """
    try:
        answer = await link.command("INFO")
    except BusUnavailable:
        raise
    except BusError as error:
        log.warning("Redis does not tell how it keeps its data", url=where, error=str(error))
        return
    told = _read(answer if isinstance(answer, bytes) else b"")
    version = told.get("redis_version", "")
    if version and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        raise BusError(f"Redis at {where} is version {version}; {'.'.join(map(str, OLDEST))} or later is needed")
    if told.get("aof_enabled") == "0":
        log.warning(
            "Redis keeps no append-only file: if it stops, messages since its last snapshot are lost",
            url=where,
            advice="appendonly yes, appendfsync everysec or always",
        )
    if told.get("maxmemory", "0") != "0" and told.get("maxmemory_policy", "noeviction") != "noeviction":
        log.warning(
            "Redis throws data away when its memory is full, messages too",
            url=where,
            maxmemory_policy=told["maxmemory_policy"],
            advice="maxmemory-policy noeviction",
        )


def _read(info: bytes) -> dict[str, str]:
    return {
        name: value
        for name, colon, value in (line.strip().partition(":") for line in info.decode("utf-8", "replace").splitlines())
        if colon
    }
