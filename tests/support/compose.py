"""The Compose stack as a test has it: a copy of what a checkout has for it, a project of its own, free ports."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from scripts.docker_engine import Engine

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180.0
LONGEST_COMMAND = 1500.0  # seconds; the first `up` builds every image

# What a checkout has that Compose builds from or mounts.
CHECKOUT = (
    *("docker-compose.yml", "Dockerfile", ".dockerignore", "pyproject.toml"),
    *("compose", "contracts", "examples", "k8s/monitoring", "requirements", "scripts", "services"),
)
_VARIABLE = re.compile(r"\$\{(\w+)")
_FETCH = "import sys, urllib.request as u; sys.stdout.write(u.urlopen('http://127.0.0.1:9090/metrics').read().decode())"
_KILL = "import os, sys; os.kill(int(sys.argv[1]), 9)"
_LIST = """
import json, pathlib, stat
def shown(path):
    own = path.stat()
    return [oct(stat.S_IMODE(own.st_mode)), own.st_uid, path.read_text() if path.is_file() else None]
place = pathlib.Path("/conclave")
print(json.dumps({str(path.relative_to(place)): shown(path) for path in [place, *place.rglob("*")]}))
"""

Container = dict[str, Any]  # what `docker inspect` says


class ComposeFailed(Exception):
    """The message holds the command and the end of what it said."""


class Kept(NamedTuple):
    """A file or a folder (whose content is None) as the engine's root sees it."""

    mode: str
    owner: int
    content: str | None


class Stack:
    """A project of Compose in ``folder``.

    Args:
        command: how Compose is called.
        variables: what docker-compose.yml is told; nothing else of this process's environment reaches it.
    """

    def __init__(self, engine: Engine, command: list[str], folder: Path, project: str, variables: Mapping[str, str]):
        self.engine = engine
        self.folder = folder
        self.project = project
        self.variables = dict(variables)
        self._command = command

    # ---- Compose

    def compose(self, *arguments: str, timeout: float = LONGEST_COMMAND) -> str:
        """What it writes to its standard output.

        Raises:
            ComposeFailed: it ended with another code than 0, or not in time.
        """
        command = [*self._command, *arguments]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise ComposeFailed(f"{' '.join(command)}: not done in {timeout:.0f} s\n{self.logs()}") from error
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
            raise ComposeFailed(f"{' '.join(command)} ended with code {done.returncode}:\n{said}\n{self.logs()}")
        return done.stdout

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", *arguments)

    def logs(self) -> str:
        """The end of what each container has said."""
        tails = []
        for one in self.containers():
            done = subprocess.run(
                [self.engine.client, "logs", "--tail", "15", one["Id"]],
                env=self.engine.environment(),
                capture_output=True,
                text=True,
                timeout=60,
            )
            tails.append(f"--- {one['Name']} ({one['State']['Status']})\n{done.stdout}{done.stderr}")
        return "\n".join(tails)

    def _environment(self) -> dict[str, str]:
        text = (self.folder / "docker-compose.yml").read_text(encoding="utf-8")
        ours = set(_VARIABLE.findall(text)) | {"PIP_INDEX_URL"}
        inherited = {name: value for name, value in self.engine.environment().items() if name not in ours}
        return {**inherited, "COMPOSE_PROJECT_NAME": self.project, **self.variables}

    # ---- containers

    def containers(self, service: str | None = None) -> list[Container]:
        """Those of a service, or all, whether they run or not; in the order of their names."""
        # One that `run` made may be gone before it is asked for.
        filters = [f"label=com.docker.compose.project={self.project}", "label=com.docker.compose.oneoff=False"]
        if service is not None:
            filters += [f"label=com.docker.compose.service={service}"]
        options = [option for one in filters for option in ("--filter", one)]
        ids = self.engine.run("ps", "--all", "--quiet", *options).split()
        found: list[Container] = json.loads(self.engine.run("inspect", *ids)) if ids else []
        return sorted(found, key=lambda one: str(one["Name"]))

    def container(self, service: str) -> Container:
        (only,) = self.containers(service)
        return only

    def wait_until_healthy(self, *services: str) -> None:
        """Every container of these services, or all that have a health check."""

        def unhealthy() -> list[str]:
            return [
                f"{service_of(one)}: {one['State']['Status']}, {one['State'].get('Health', {}).get('Status')}"
                for one in self.containers()
                if one["Config"].get("Healthcheck") and (service_of(one) in services or not services)
                if not is_healthy(one)
            ]

        try:
            until(lambda: not (said := unhealthy()) or said, lambda answer: answer is True)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def kill(self, service: str) -> Container:
        """End a container's first process from outside, as a crash does, and wait until it is back by itself.

        Not ``docker kill``: to the engine that is a wish, and its restart policy leaves alone what somebody wanted to
        end. The signal comes from a container that sees the engine's processes, since not every engine runs here.
        """
        before = self.container(service)
        self.engine.run(
            *("run", "--rm", "--pid", "host", "--network", "none", "--user", "0:0"),
            *("--cap-drop", "ALL", "--cap-add", "KILL", "--entrypoint", "python", self.image("tools")),
            *("-c", _KILL, str(before["State"]["Pid"])),
        )
        until(lambda: self.container(service), lambda one: one["RestartCount"] > before["RestartCount"])
        self.wait_until_healthy(service)
        return self.container(service)

    def execute(self, container: Container, *command: str) -> str:
        return self.engine.run("exec", container["Id"], *command, timeout=60)

    def figures(self, container: Container) -> dict[str, float]:
        """What a service's container shows Prometheus, each metric's samples added up."""
        total: dict[str, float] = {}
        for family in text_string_to_metric_families(self.execute(container, "python", "-c", _FETCH)):
            for sample in family.samples:
                total[sample.name] = total.get(sample.name, 0.0) + sample.value
        return total

    def image(self, name: str) -> str:
        return f"conclave/{name}:{self.variables['CONCLAVE_VERSION']}"

    # ---- what setup has left on the host

    def kept(self) -> dict[str, Kept]:
        """Everything in ``.conclave``, which is ``.``. Most of it whoever runs the tests may not see."""
        return {path: Kept(*one) for path, one in json.loads(self._as_root("python", "-c", _LIST)).items()}

    def delete_kept(self) -> None:
        self._as_root("find", "/conclave", "-mindepth", "1", "-delete")

    def _as_root(self, *command: str) -> str:
        mount = f"{self.folder / '.conclave'}:/conclave"
        own = ("run", "--rm", "--network", "none", "--user", "0:0", "--volume", mount, "--entrypoint", command[0])
        return self.engine.run(*own, self.image("tools"), *command[1:])

    def leftovers(self) -> list[str]:
        """What the engine has of this project."""
        label = f"label=com.docker.compose.project={self.project}"
        commands = (["ps", "--all"], ["network", "ls"], ["volume", "ls"])
        return [one for command in commands for one in self.engine.run(*command, "-q", "--filter", label).split()]

    # ---- the API

    def api(self, service: str = "edge") -> str:
        """Where the port of the first container of a service is published."""
        (binding,) = self.containers(service)[0]["NetworkSettings"]["Ports"]["8000/tcp"]
        return f"http://{binding['HostIp']}:{binding['HostPort']}/api/v1"

    def headers(self) -> dict[str, str]:
        key = self.folder / ".conclave" / "deployment" / "admin" / "admin-key"
        return {"X-API-Key": key.read_text(encoding="utf-8").strip()}

    def client(self, service: str = "edge") -> httpx.Client:
        """A connection of its own for each request: one that is kept may go to an edge that ends."""
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(base_url=self.api(service), headers=self.headers(), timeout=30, limits=limits)


def copied_checkout(folder: Path) -> Path:
    """A checkout for a stack of its own, without what earlier ones have left in this one."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in CHECKOUT:
        source, place = ROOT / name, folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=ignored)
        else:
            shutil.copy(source, place)
    return folder


def service_of(container: Container) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def is_healthy(container: Container) -> bool:
    return bool(container["State"]["Running"] and container["State"].get("Health", {}).get("Status") == "healthy")


def until(ask: Callable[[], Any], enough: Callable[[Any], bool], patience: float = PATIENCE) -> Any:
    """Ask until the answer is what it should be."""
    deadline = time.monotonic() + patience
    while not enough(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.5)
    return answer
