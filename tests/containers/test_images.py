"""Every image of the Dockerfile, as it is built: what is in it, who runs it, and how it lives and ends."""

import json
import re
import textwrap
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.deployed_services import deployed_services
from scripts.docker_engine import DockerFailed, Engine
from scripts.servers import free_port
from tests.support.api_access import ADMIN_KEY, HASH_KEY
from tests.support.docker_images import IMAGE_TAG, ROOT, targets

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]

SERVICES = tuple(deployed_services())
TARGETS = tuple(targets())
USER = 10001
CONFINED = ("--read-only", "--tmpfs", "/tmp:size=64m", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
HEALTHY_WITHIN = 180.0  # seconds; eleven processes begin at once

# What one image is asked, by a program that runs in it.
QUESTIONS = textwrap.dedent(
    """
    import importlib.metadata, importlib.util, json, os, pathlib, platform, sys
    def files(folder):
        return sorted(str(p.relative_to(folder)) for p in pathlib.Path(folder).rglob("*") if p.is_file())
    def writable(folder):
        return [str(p) for p in pathlib.Path(folder).rglob("*") if not p.is_symlink() and os.access(p, os.W_OK)]
    print(json.dumps({
        "packages": sorted(d.metadata["Name"] for d in importlib.metadata.distributions()),
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "user": [os.getuid(), os.getgid()],
        "groups": os.getgroups(),
        "sources": files("/app"),
        "writable": [p for f in ("/app", "/opt/conclave", "/usr/local", "/etc") for p in writable(f)],
        "tests": [str(p) for p in pathlib.Path("/opt/conclave").rglob("tests/*.py") if "certifi" not in str(p)],
        "can_import": [m for m in ("pip", "pymcdm", "duckdb", "motor", "asyncpg", "fastapi", "zen", "pytest")
                       if importlib.util.find_spec(m)],
    }))
    """
)


@dataclass(frozen=True, slots=True)
class Life:
    """One service's container from start to end: the health that Docker saw, how it was set up, its code at the end."""

    health: str
    first_process: str
    written: str
    exit_code: int
    log: str


@pytest.fixture(scope="module")
def answers(engine: Engine, service_images: Mapping[str, str]) -> Mapping[str, dict[str, Any]]:
    """What each image says of itself."""
    return {
        target: json.loads(
            engine.run("run", "--rm", "--network", "none", *CONFINED, "--entrypoint", "python", image, "-c", QUESTIONS)
        )
        for target, image in service_images.items()
    }


@pytest.fixture(scope="module")
def configurations(engine: Engine, service_images: Mapping[str, str]) -> Mapping[str, dict[str, Any]]:
    """What Docker knows of each image."""
    described = json.loads(engine.run("image", "inspect", *service_images.values()))
    return dict(zip(service_images, (one["Config"] for one in described), strict=True))


@pytest.fixture(scope="module")
def lives(engine: Engine, images: Mapping[str, str], service_images: Mapping[str, str]) -> Iterator[Mapping[str, Life]]:
    """Each service run with a RabbitMQ and a MongoDB until it is healthy, and then stopped."""
    world = World(engine, f"conclave-images-{free_port()}")
    try:
        world.start_servers(images)
        for name in SERVICES:
            world.start_service(name, service_images[name])
        for name in SERVICES:
            world.wait_until_healthy(name)
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            yield dict(zip(SERVICES, pool.map(world.end_service, SERVICES), strict=True))
    finally:
        world.remove()


class World:
    """A network of containers' own, with a broker, a store and services in it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._containers: list[str] = []
        engine.run("network", "create", name)

    def start_servers(self, images: Mapping[str, str]) -> None:
        self._start("rabbitmq", images["RABBITMQ_IMAGE"])
        self._start("mongodb", images["MONGO_IMAGE"])

    def start_service(self, name: str, image: str) -> None:
        variables = {
            "RABBITMQ_URL": "amqp://guest:guest@rabbitmq:5672/",
            "DATABASE_URL": "mongodb://mongodb:27017/conclave",
            "API_KEY_HASH_KEY": HASH_KEY,
            "INITIAL_ADMIN_KEY": ADMIN_KEY,
        }
        options = [part for key, value in variables.items() for part in ("--env", f"{key}={value}")]
        self._start(name, image, *CONFINED, *options)

    def wait_until_healthy(self, name: str) -> None:
        deadline = time.monotonic() + HEALTHY_WITHIN
        # To Docker one that takes long to begin is unhealthy for a while.
        while (
            (state := self._state(name)) != ("true", "healthy") and state[0] == "true" and time.monotonic() < deadline
        ):
            time.sleep(0.5)

    def end_service(self, name: str) -> Life:
        _, health = self._state(name)
        first = self._exec(name, "cat", "/proc/1/comm")
        written = self._exec(name, "sh", "-c", "touch /app/new /opt/conclave/new /home/new; touch /tmp/new && echo tmp")
        self._engine.run("stop", "--time", "60", self._of(name))
        state = self._engine.run("inspect", "--format", "{{.State.ExitCode}}", self._of(name))
        return Life(health, first, written, int(state), self._engine.run("logs", "--tail", "20", self._of(name)))

    def remove(self) -> None:
        if self._containers:
            self._engine.run("rm", "--force", "--volumes", *self._containers)
        self._engine.run("network", "rm", self._name)

    def _start(self, name: str, image: str, *options: str) -> None:
        self._containers.append(self._of(name))
        names = ("--name", self._of(name), "--network", self._name, "--network-alias", name, "--hostname", name)
        self._engine.run("run", "--detach", *names, *options, image)

    def _of(self, name: str) -> str:
        return f"{self._name}-{name}"

    def _state(self, name: str) -> tuple[str, str]:
        """Whether it runs, and its health."""
        said = self._engine.run("inspect", "--format", "{{.State.Running}} {{.State.Health.Status}}", self._of(name))
        running, _, health = said.partition(" ")
        return running, health

    def _exec(self, name: str, *command: str) -> str:
        try:
            return self._engine.run("exec", self._of(name), *command)
        except DockerFailed as error:
            return str(error)


# ---- what is in it


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_exactly_the_packages_of_its_locks(target: str, answers: Mapping[str, dict[str, Any]]) -> None:
    answer = answers[target]
    own = "access" if target == "tools" else target
    wanted = locked("image", answer["python"]) | locked(own, answer["python"])
    assert {canonicalize_name(name) for name in answer["packages"]} == wanted
    assert answer["prefix"] == "/opt/conclave"


def test_no_image_has_what_only_another_service_needs(answers: Mapping[str, dict[str, Any]]) -> None:
    has = {target: set(answer["can_import"]) for target, answer in answers.items()}
    store = {"motor", "asyncpg"}
    assert {target for target in TARGETS if "pymcdm" in has[target]} == {"decision_agent"}
    assert {target for target in TARGETS if "zen" in has[target]} == {"decision_agent"}
    assert {target for target in TARGETS if "duckdb" in has[target]} == {"data_agent"}
    assert {target for target in TARGETS if "fastapi" in has[target]} == {"edge"}
    needs_store = {name for name, service in deployed_services().items() if service.store}
    assert {target for target in TARGETS if store <= has[target]} == needs_store | {"tools"}
    assert {target for target in TARGETS if has[target] & store} == needs_store | {"tools"}
    assert not [target for target in TARGETS if has[target] & {"pip", "pytest"}]


@pytest.mark.parametrize("target", SERVICES)
def test_an_image_has_its_own_services_sources_and_no_other(target: str, answers: Mapping[str, dict[str, Any]]) -> None:
    wanted = {"pyproject.toml", "services/__init__.py", "services/__main__.py"}
    for folder in ("contracts", "services/runtime", f"services/{target}"):
        wanted |= sources(folder)
    assert set(answers[target]["sources"]) == wanted
    assert answers[target]["tests"] == []


def test_tools_have_the_sources_of_all(answers: Mapping[str, dict[str, Any]]) -> None:
    wanted = {"pyproject.toml"}
    for folder in ("contracts", "services", "scripts", "examples"):
        wanted |= sources(folder)
    assert set(answers["tools"]["sources"]) == wanted


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_labelled_and_says_what_it_needs(target: str, configurations: Mapping[str, dict[str, Any]]) -> None:
    configuration = configurations[target]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in configuration["Labels"].items()}
    assert labels["title"] == f"conclave/{target}"
    assert labels["version"] == IMAGE_TAG
    assert labels["description"]
    assert {"created", "revision", "vendor", "licenses"} <= labels.keys()
    assert configuration["User"] == f"{USER}:{USER}"
    assert configuration["StopSignal"] == "SIGTERM"
    ports = set(deployed_services()[target].ports.values()) if target in SERVICES else set()
    assert set(configuration.get("ExposedPorts") or {}) == {f"{port}/tcp" for port in ports}
    assert bool(configuration.get("Healthcheck")) is (target in SERVICES)


@pytest.mark.parametrize("target", TARGETS)
def test_who_runs_an_image_is_nobody_and_can_change_nothing_in_it(
    target: str, answers: Mapping[str, dict[str, Any]]
) -> None:
    assert answers[target]["user"] == [USER, USER]
    assert set(answers[target]["groups"]) <= {USER}
    assert answers[target]["writable"] == []


# ---- how it lives and ends


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_turns_healthy_with_a_read_only_file_system(service: str, lives: Mapping[str, Life]) -> None:
    life = lives[service]
    assert life.health == "healthy", life.log
    assert life.written.splitlines()[-1] == "tmp"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_ends_in_good_order_when_it_is_told_to(service: str, lives: Mapping[str, Life]) -> None:
    life = lives[service]
    assert life.first_process == "dumb-init"
    assert life.exit_code == 0, life.log


def test_a_service_without_its_broker_is_not_healthy(engine: Engine, service_images: Mapping[str, str]) -> None:
    name = f"conclave-alone-{free_port()}"
    nobody = "RABBITMQ_URL=amqp://guest:guest@127.0.0.1:1/"
    engine.run("run", "--detach", "--name", name, *CONFINED, "--env", nobody, service_images["data_agent"])
    try:
        said = _health_check(engine, name)
        assert '"ready":false' in said.replace(" ", "") or "not ready" in said, said
        health = engine.run("inspect", "--format", "{{.State.Health.Status}}", name)
        assert health in ("starting", "unhealthy")
    finally:
        engine.run("rm", "--force", name)


def _health_check(engine: Engine, name: str) -> str:
    """What the health check says as soon as the process answers at all; it must find it not ready."""
    deadline = time.monotonic() + HEALTHY_WITHIN
    while True:
        with pytest.raises(DockerFailed, match="ended with code 1") as failed:
            engine.run("exec", name, "python", "/usr/local/lib/conclave/health_check.py")
        if "no answer on port" not in str(failed.value) or time.monotonic() > deadline:
            return str(failed.value)
        time.sleep(0.5)


def locked(name: str, python: str) -> set[str]:
    """The packages of a lock file that are installed with this version of Python on Linux."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    here = {"python_full_version": python, "sys_platform": "linux", "python_version": ".".join(python.split(".")[:2])}
    found = [Requirement(line) for line in re.findall(r"^([a-zA-Z0-9][^\\\n]*?)\s*\\?$", text, re.MULTILINE)]
    return {canonicalize_name(one.name) for one in found if one.marker is None or one.marker.evaluate(here)}


def sources(folder: str) -> set[str]:
    """The files of the checkout below a folder that images are given."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}
