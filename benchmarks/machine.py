"""What a run was made on: the machine, the versions, the settings. Figures without these say nothing."""

import asyncio
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rounds import Servers
from services.runtime.settings import Settings

_PACKAGES = (
    "faststream",
    "aio-pika",
    "aiormq",
    "uvloop",
    "pydantic",
    "motor",
    "pymongo",
    "asyncpg",
    "fastapi",
    "uvicorn",
)
_SECRET_SETTINGS = ("database_url", "rabbitmq_url", "redis_url")  # may hold passwords, and differ from run to run


def machine() -> dict[str, Any]:
    """Processor, memory, kernel, and how busy it was before (load averages over 1, 5 and 15 minutes)."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def our_versions() -> dict[str, str]:
    """Python and what the services are made of."""
    return {"Python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def server_versions(servers: Servers) -> dict[str, str]:
    """What the servers say they are; one that does not say is left with the reason."""
    told: dict[str, str] = {}
    for name, url, ask in (
        ("RabbitMQ", servers.rabbitmq_url, _rabbitmq_version),
        ("MongoDB protocol", servers.mongodb_url, _mongodb_version),
        ("PostgreSQL", servers.postgresql_url, _postgresql_version),
    ):
        if url is None:
            continue
        try:
            told[name] = ask(url)
        except Exception as error:
            # A version that cannot be had must not cost the run its figures.
            told[name] = f"not told: {type(error).__name__}: {error}"
    if servers.mongodb_url is not None:
        told["SecantusDB"] = _version("SecantusDB")
    return told


def commit() -> str:
    """The git commit that was measured; ``+changes`` if the tree differs from it."""
    here = Path(__file__).resolve().parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+changes" if _git(here, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "not in a git checkout"


def settings() -> dict[str, str]:
    """The services' settings as this environment has them, without URLs."""
    return {
        name: str(getattr(value, "value", value))
        for name, value in Settings().model_dump().items()
        if name not in _SECRET_SETTINGS
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def _rabbitmq_version(url: str) -> str:
    async def ask() -> str:
        import aiormq

        connection = await aiormq.connect(url)
        try:
            version: Any = connection.server_properties["version"]
            return version.decode() if isinstance(version, bytes) else str(version)
        finally:
            await connection.close()

    return asyncio.run(ask())


def _mongodb_version(url: str) -> str:
    from pymongo import MongoClient

    client: MongoClient[Any]
    with MongoClient(url, serverSelectionTimeoutMS=3_000) as client:
        return str(client.server_info()["version"])


def _postgresql_version(url: str) -> str:
    async def ask() -> str:
        import asyncpg

        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    return asyncio.run(ask())
