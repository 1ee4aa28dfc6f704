"""What each service needs around it, read off the code: Compose, Kubernetes and the secrets are made and checked by it.

The code is parsed, not imported: an image that makes secrets has no service's packages.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.rabbitmq_permissions import AGENT_SERVICES

API_PORT, METRICS_PORT = 8000, 9090
HOLDS_API_KEYS = ("access", "edge")  # the two that are given API_KEY_HASH_KEY
_SERVICES = Path(__file__).resolve().parent.parent / "services"


@dataclass(frozen=True, slots=True)
class DeployedService:
    """One service as something to deploy.

    ``name`` is its folder, its image ``conclave/NAME``, its Compose service and its RabbitMQ user; ``label`` is the
    same as Kubernetes can spell it. ``store`` says whether it reads or writes the store, ``agents`` whether it hosts
    agents, ``api_keys`` whether it knows the key they are hashed with; ``ports`` are those that its process opens.
    """

    name: str
    store: bool
    agents: bool
    api_keys: bool
    ports: Mapping[str, int]

    @property
    def label(self) -> str:
        return label_of(self.name)


def label_of(name: str) -> str:
    """A service's, client's or user's name as Kubernetes can spell it."""
    return name.replace("_", "-")


def deployed_services() -> dict[str, DeployedService]:
    """Every service by its name: each folder of ``services`` that has an ``app.py`` is one."""
    return {app.parent.name: _deployed(app) for app in sorted(_SERVICES.glob("*/app.py"))}


def _deployed(app: Path) -> DeployedService:
    name = app.parent.name
    ports = {"metrics": METRICS_PORT} | ({"api": API_PORT} if name == "edge" else {})
    return DeployedService(
        name,
        store="store" in _parameters_of_build(app),
        agents=name in AGENT_SERVICES,
        api_keys=name in HOLDS_API_KEYS,
        ports=ports,
    )


def _parameters_of_build(app: Path) -> list[str]:
    """Of the function that makes the service: one that has a store is handed it there."""
    for node in ast.parse(app.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            return [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
    raise ValueError(f"{app} has no function build")
