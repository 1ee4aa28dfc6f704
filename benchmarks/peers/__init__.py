"""Other systems that run the same workloads, each in a virtual environment of its own."""

from pathlib import Path

from benchmarks.peers.contestant import PeerContestant
from benchmarks.peers.environment import VENVS
from benchmarks.peers.program import PeerFailed
from benchmarks.rounds import Contestant

__all__ = ["FLOORS", "PEERS", "PeerContestant", "PeerFailed", "all_peers"]

FLOORS = ("floor-classic", "floor-quorum")

RABBITMQ, REDIS, POSTGRESQL = "rabbitmq_url", "redis_url", "postgresql_url"

# name: folder, variant that its program is started with, servers that it needs
PEERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "floor-classic": ("floor", "classic", (RABBITMQ,)),
    "floor-quorum": ("floor", "quorum", (RABBITMQ,)),
    "faststream": ("faststream", "classic", (RABBITMQ,)),
    "celery-default": ("celery", "default", (RABBITMQ, REDIS)),
    "celery-durable": ("celery", "durable", (RABBITMQ, REDIS)),
    "dramatiq": ("dramatiq", "confirms", (RABBITMQ, REDIS)),
    "taskiq": ("taskiq", "pipelines", (RABBITMQ, REDIS)),
    "langgraph-memory": ("langgraph", "memory", ()),
    "langgraph-sqlite": ("langgraph", "sqlite", ()),
    "langgraph-postgres": ("langgraph", "postgres", (POSTGRESQL,)),
    "langgraph-postgres-sync": ("langgraph", "postgres-sync", (POSTGRESQL,)),
    "dbos": ("dbos", "steps", (POSTGRESQL,)),
}


def all_peers(venvs: Path = VENVS) -> list[Contestant]:
    """Every peer, the floors first; their virtual environments are made in ``venvs`` by ``set_up``."""
    return [PeerContestant(name, *settings, venvs=venvs) for name, settings in PEERS.items()]
