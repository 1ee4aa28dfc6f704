"""How stand-ins are made: from what this machine has, and again only when that has changed. That they work is in
tests/containers."""

import re
import subprocess
from pathlib import Path

import pytest

from scripts import stand_in_images as module
from scripts.docker_engine import DockerFailed, Engine
from scripts.stand_in_images import (
    OFFICIAL_IMAGES,
    STAND_INS,
    NoStandIns,
    build_options,
    make_stand_ins,
    packages_mirror,
    pip_configuration,
    write_env_file,
)


class NotedEngine(Engine):
    """An engine that keeps the labels of images, and notes what it is asked to make."""

    def __init__(self) -> None:
        super().__init__(Path("docker"), "unix:///nowhere.sock", "noted")
        object.__setattr__(self, "labels", {})
        object.__setattr__(self, "made", [])

    def run(self, *arguments: str, **_: object) -> str:
        labels: dict[str, str] = getattr(self, "labels")  # noqa: B009
        if arguments[:2] == ("image", "inspect"):
            if arguments[-1] not in labels:
                raise DockerFailed("no such image")
            return labels[arguments[-1]]
        if arguments[0] == "build":
            image = arguments[arguments.index("--tag") + 1]
            labels[image] = arguments[arguments.index("--label") + 1].partition("=")[2]
            context = Path(arguments[-1])
            assert (context / "Dockerfile").exists()
            self.made.append(image)  # type: ignore[attr-defined]
        return ""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> NotedEngine:
    engine = NotedEngine()

    def make_base(_engine: Engine, _mirror: str, _certificates: bytes, _pip: str, recipe: str) -> None:
        engine.labels[STAND_INS["BASE_IMAGE"]] = recipe  # type: ignore[attr-defined]
        engine.made.append(STAND_INS["BASE_IMAGE"])  # type: ignore[attr-defined]

    monkeypatch.setattr(module, "_make_base", make_base)
    monkeypatch.setattr(module, "packages_mirror", lambda: "http://packages.test/debian")
    monkeypatch.setattr(module, "pip_configuration", lambda: "[global]\n")
    return engine


def make(engine: NotedEngine, *wanted: str) -> list[str]:
    engine.made.clear()  # type: ignore[attr-defined]
    said: list[str] = []
    make_stand_ins(engine, wanted or tuple(STAND_INS), said.append)
    made: list[str] = list(engine.made)  # type: ignore[attr-defined]
    assert [line.removeprefix("making ") for line in said if line.startswith("making ")] == made
    return made


def test_every_official_image_has_a_stand_in_with_a_recipe() -> None:
    assert STAND_INS.keys() == OFFICIAL_IMAGES.keys()
    recipes = {path.name for path in module.RECIPES.iterdir()}
    assert {image.removeprefix("stand-in/").partition(":")[0] for image in STAND_INS.values()} == recipes | {"python"}


def test_all_are_made_once(engine: NotedEngine) -> None:
    assert make(engine) == list(STAND_INS.values())
    assert make(engine) == []


def test_the_base_is_made_for_the_others(engine: NotedEngine) -> None:
    assert make(engine, "REDIS_IMAGE") == [STAND_INS["BASE_IMAGE"], STAND_INS["REDIS_IMAGE"]]
    assert make(engine, "BASE_IMAGE") == []


def test_a_changed_recipe_is_made_again(engine: NotedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(engine)
    for path in module.RECIPES.iterdir():
        (tmp_path / path.name).mkdir()
        for file in path.iterdir():
            if file.is_file():
                (tmp_path / path.name / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(module, "RECIPES", tmp_path)
    assert make(engine) == []
    with (tmp_path / "redis" / "Dockerfile").open("a") as recipe:
        recipe.write("ENV CHANGED=1\n")
    assert make(engine) == [STAND_INS["REDIS_IMAGE"]]


def test_with_another_mirror_all_are_made_again(engine: NotedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    make(engine)
    monkeypatch.setattr(module, "packages_mirror", lambda: "http://another.test/debian")
    assert make(engine) == list(STAND_INS.values())


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb\n# a comment\nURIs: http://packages.test/debian\nSuites: bookworm\n\nURIs: http://security.test/\n",
        "# deb http://no.test/debian bookworm main\ndeb http://packages.test/debian bookworm main\n",
        "deb [arch=amd64 signed-by=/a/key] http://packages.test/debian bookworm main\n",
    ],
)
def test_the_mirror_is_the_machines_own(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sources").write_text(text, encoding="utf-8")
    monkeypatch.setattr(module, "SOURCES", (tmp_path / "missing", tmp_path / "sources"))
    assert packages_mirror() == "http://packages.test/debian"


def test_without_a_mirror_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOURCES", (tmp_path / "missing",))
    with pytest.raises(NoStandIns, match="no sources of Debian's packages"):
        packages_mirror()


def test_the_package_index_is_the_machines_own_without_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = (
        ":env:.timeout='3'\nglobal.index-url='https://packages.test/simple'\n"
        "global.extra-index-url='file:///here/simple https://more.test/simple'\nglobal.find-links='/here'\n"
    )
    monkeypatch.setattr(
        module.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=configured)
    )
    monkeypatch.setattr(module, "CERTIFICATES", tmp_path / "missing")
    assert pip_configuration() == (
        "[global]\nindex-url = https://packages.test/simple\nextra-index-url = https://more.test/simple\n"
    )
    (tmp_path / "there").touch()
    monkeypatch.setattr(module, "CERTIFICATES", tmp_path / "there")
    assert f"cert = {tmp_path / 'there'}\n" in pip_configuration()


def test_the_env_file_is_one_of_composes(tmp_path: Path) -> None:
    path = write_env_file({"BASE_IMAGE": "stand-in/python:3.11"}, tmp_path / "new" / "stand-ins.env")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    assert lines[1:] == ["BASE_IMAGE=stand-in/python:3.11", "BUILD_NETWORK=host"]


def test_only_stand_ins_are_built_in_the_hosts_network() -> None:
    assert build_options(STAND_INS["BASE_IMAGE"]) == ["--network", "host"]
    assert build_options(OFFICIAL_IMAGES["BASE_IMAGE"]) == []


def test_what_takes_the_place_of_compose_s_images_is_what_compose_names() -> None:
    """Each variable that docker-compose.yml has an image in has a stand-in, with the same default."""
    text = (module.ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    named = dict(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", text))
    assert named.pop("GRAFANA_IMAGE", "grafana/grafana:").startswith("grafana/grafana:")
    assert named == OFFICIAL_IMAGES
