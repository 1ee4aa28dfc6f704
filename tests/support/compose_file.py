"""docker-compose.yml as Compose reads it: anchors and variables resolved, every default as where nothing is set."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
DEPLOYMENT = "./.conclave/deployment"
SECRETS = "/run/secrets/conclave"
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:-)(?P<default>[^}]*))?\}")

Service = dict[str, Any]


@cache
def raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    return loaded


def interpolated(value: Any, variables: Mapping[str, str] | None = None) -> Any:
    """With its variables in place; one that is neither set nor has a default is refused."""
    if isinstance(value, dict):
        return {key: interpolated(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, variables) for one in value]
    return VARIABLE.sub(lambda found: _value(found, variables or {}), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    given = variables.get(found["name"], "")
    if not given and found["default"] is None:
        raise ValueError(f"{found[0]} has no default")
    return given or found["default"]


def services() -> dict[str, Service]:
    return dict(interpolated(raw()["services"]))


def variables_with_defaults() -> Iterator[tuple[str, str]]:
    """Each use of a variable, with its default there."""
    for found in VARIABLE.finditer(COMPOSE_FILE.read_text(encoding="utf-8")):
        if found["name"]:
            yield found["name"], found["default"]


def mounts(service: Service) -> dict[str, tuple[str, str]]:
    """Where it is mounted -> what, and ``ro`` or ``rw``."""
    found = {}
    for volume in service.get("volumes", ()):
        source, place, *mode = volume.split(":")
        found[place] = (source, mode[0] if mode else "rw")
    return found


def secret_files(service: Service) -> set[str]:
    """Names of the files of its secrets that its environment and its commands speak of; ``.`` is the folder."""
    texts = [*service.get("environment", {}).values(), *service.get("entrypoint", ()), *_words(service.get("command"))]
    paths = re.findall(rf"{SECRETS}[\w./-]*", " ".join(map(str, texts)))
    return {str(PurePosixPath(path).relative_to(SECRETS)) for path in paths}


def _words(command: Any) -> list[str]:
    return command.split() if isinstance(command, str) else list(command or ())


def in_bytes(size: str) -> int:
    """Of Compose's ``512m``, RabbitMQ's ``640MiB`` and ``1GB``, and Redis' ``640mb``, which is 1024 * 1024 each."""
    found = re.fullmatch(r"(\d+)\s*([kmg])i?b?", size.lower())
    assert found is not None, size
    return int(found[1]) * 1024 ** ("kmg".index(found[2]) + 1)
