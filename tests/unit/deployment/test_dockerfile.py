"""The Dockerfile says what the code says: a target for each service, with its packages, its sources, its ports."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.deployed_services import API_PORT, METRICS_PORT, deployed_services
from scripts.stand_in_images import OFFICIAL_IMAGES
from services.runtime.settings import Settings
from tests.support.docker_images import targets

ROOT = Path(__file__).resolve().parents[3]
SERVICES = deployed_services()
OF_PYTHON = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


@dataclass(slots=True)
class Stage:
    """One stage of the Dockerfile: what it begins from, and its instructions in order."""

    name: str
    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, kind: str) -> list[str]:
        return [text for name, text in self.instructions if name == kind]


def parsed(text: str) -> tuple[dict[str, Stage], dict[str, str]]:
    """The stages by name, and the arguments that stand before the first one."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    stages: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    stage: Stage | None = None
    for line in filter(None, map(str.strip, joined.splitlines())):
        kind, _, rest = line.partition(" ")
        rest = " ".join(rest.split())
        if kind == "FROM":
            parent, _, name = rest.partition(" AS ")
            stage = stages[name] = Stage(name, parent)
        elif stage is None:
            assert kind == "ARG", line
            name, _, default = rest.partition("=")
            arguments[name] = default
        else:
            stage.instructions.append((kind, rest))
    return stages, arguments


STAGES, ARGUMENTS = parsed((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def ancestry(name: str) -> Iterator[Stage]:
    while name in STAGES:
        yield STAGES[name]
        name = STAGES[name].parent


def environment(name: str) -> Mapping[str, str]:
    """What an image sets, its own over its parents'."""
    found: dict[str, str] = {}
    for stage in ancestry(name):
        for text in stage.all("ENV"):
            found = dict(part.split("=", 1) for part in text.split()) | found
    return found


def test_there_is_an_image_for_each_service_and_one_of_tools() -> None:
    assert sorted(targets()) == sorted([*SERVICES, "tools"])
    helpers = {f"{name}_packages" for name in SERVICES} | {"packages", "base", "service"}
    assert set(STAGES) == set(targets()) | helpers


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_installs_its_own_lock(name: str) -> None:
    packages = STAGES[f"{name}_packages"]
    assert packages.parent == "packages"
    assert packages.all("COPY") == [f"requirements/{name}.lock requirements.lock"]
    (install,) = packages.all("RUN")
    assert "--requirement requirements.lock" in install
    assert (ROOT / "requirements" / f"{name}.lock").exists()
    taken = [text for text in STAGES[name].all("COPY") if text.startswith("--from=")]
    assert taken == [f"--from={name}_packages /added /opt/conclave"]


def test_every_installed_file_is_checked_by_its_hash() -> None:
    assert "PIP_REQUIRE_HASHES=1" in STAGES["packages"].all("ENV")[0].split()
    for stage in STAGES.values():
        for text in stage.all("RUN"):
            assert "--no-deps" not in text
            assert text.count("pip install") == text.count("--requirement")


def test_what_all_images_have_is_in_every_lock() -> None:
    """Else a service's own packages would lie over an older version of the same in the shared layer."""
    common = pinned("image") - {one for one in pinned("image") if one.startswith("dumb-init==")}
    assert common
    for name in SERVICES:
        assert common <= pinned(name), name


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_itself_and_holds_only_its_own_sources(name: str) -> None:
    stage = STAGES[name]
    assert stage.parent == "service"
    assert stage.all("CMD") == [f'["{name}"]']
    copied = [text.split()[-1] for text in stage.all("COPY") if "--from=" not in text]
    assert [path for path in copied if path.startswith("services/")] == [f"services/{name}"]
    assert [path for path in copied if not path.startswith(("services/", "/data"))] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_opens_the_ports_it_says(name: str) -> None:
    exposed = {int(port) for stage in ancestry(name) for text in stage.all("EXPOSE") for port in text.split()}
    assert exposed == set(SERVICES[name].ports.values())
    assert environment(name)["METRICS_PORT"] == str(METRICS_PORT)
    assert Settings.model_fields["api_port"].default == API_PORT


@pytest.mark.parametrize("name", [*SERVICES, "tools"])
def test_what_an_image_sets_are_settings(name: str) -> None:
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert set(environment(name)) - OF_PYTHON <= known
    assert "/opt/conclave/bin" in environment(name)["PATH"].split(":")


@pytest.mark.parametrize("name", [*SERVICES, "tools"])
def test_nobody_runs_an_image_as_root(name: str) -> None:
    users = [text for stage in ancestry(name) for text in stage.all("USER")]
    assert users == ["10001:10001"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_first_process_that_passes_signals_on_and_a_health_check(name: str) -> None:
    entries = [text for stage in ancestry(name) for text in stage.all("ENTRYPOINT")]
    assert entries == ['["dumb-init", "--single-child", "--", "python", "-m", "services"]']
    (check,) = [text for stage in ancestry(name) for text in stage.all("HEALTHCHECK")]
    script = check.rpartition("/")[2].rstrip('"] ')
    assert (ROOT / "scripts" / script).exists()
    copied = [text for stage in ancestry(name) for text in stage.all("COPY")]
    assert f"scripts/{script} /usr/local/lib/conclave/" in copied
    assert "/usr/local/lib/conclave/" in check


@pytest.mark.parametrize("name", [*SERVICES, "tools"])
def test_an_image_is_titled_by_its_name(name: str) -> None:
    labels = " ".join(text for stage in ancestry(name) for text in stage.all("LABEL"))
    assert labels.count(f'org.opencontainers.image.title="conclave/{name}"') == 1
    for what in ("version", "revision", "created", "description", "vendor", "licenses"):
        assert f"org.opencontainers.image.{what}=" in labels, what


def test_base_and_package_index_are_arguments_and_nothing_is_whatever_is_latest() -> None:
    assert {"BASE_IMAGE": OFFICIAL_IMAGES["BASE_IMAGE"]} == ARGUMENTS
    assert {stage.parent for stage in STAGES.values()} - set(STAGES) == {"${BASE_IMAGE}"}
    assert 'PIP_INDEX_URL=""' in STAGES["packages"].all("ARG")
    for image in OFFICIAL_IMAGES.values():
        version = image.partition(":")[2]
        assert version, image
        assert version != "latest", image
    assert ":latest" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_only_what_images_need_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        source.partition("/")[0]
        for stage in STAGES.values()
        for text in stage.all("COPY")
        if "--from=" not in text
        for source in [part for part in text.split() if not part.startswith("--")][:-1]
    }
    assert let_in == copied
    assert rules[-2:] == ["**/__pycache__", "**/*.pyc"]


def pinned(name: str) -> set[str]:
    text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-zA-Z0-9][\w.\[\]-]*==\S+)", text, re.MULTILINE))
