"""What Tilt's live update does to a container, done to a real one: the image as the Tiltfile has it built, the restart
file made as its extension makes it, sources copied in as Tilt copies them."""

import io
import tarfile
import uuid
from collections.abc import Iterator, Mapping

import pytest

from scripts.docker_engine import DockerFailed, Engine
from scripts.stand_in_images import build_options
from tests.support.kustomize import ROOT
from tests.support.starlark_tilt import evaluate
from tests.support.tilt_records import Image, Sync

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]

SERVICE = "coordinator_agent"  # the smallest of those without a store
EXTENSION = 'FROM {base}\nRUN ["touch", "{file}"]\nRUN ["chmod", "666", "{file}"]\n'


@pytest.fixture(scope="module")
def wanted() -> Image:
    """The image as the Tiltfile asks for it."""
    found = evaluate(ROOT / "Tiltfile", lambda command: "").images[f"conclave/{SERVICE}"]
    return found


@pytest.fixture(scope="module")
def container(engine: Engine, images: Mapping[str, str], wanted: Image) -> Iterator[str]:
    """A container of that image, confined as k8s/ confines it but for its file system, in which nothing runs yet."""
    tag = f"conclave-live-update-{uuid.uuid4().hex[:8]}"
    arguments = {**wanted.build_args, "BASE_IMAGE": images["BASE_IMAGE"]}
    engine.run(
        *("build", "--target", wanted.target, "--tag", f"{tag}-base"),
        *(part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")),
        *build_options(images["BASE_IMAGE"]),
        str(ROOT),
        timeout=1200.0,
    )
    try:
        child = EXTENSION.format(base=f"{tag}-base", file=wanted.restart_file)
        engine.run("build", "--tag", tag, "-", given=child)
        engine.run(
            *("run", "--detach", "--name", tag, "--network", "none", "--cap-drop", "ALL", "--tmpfs", "/tmp"),
            *("--security-opt", "no-new-privileges:true", "--entrypoint", "sleep", tag, "600"),
        )
        yield tag
    finally:
        engine.run("rm", "--force", tag)
        engine.run("image", "rm", "--force", tag, f"{tag}-base")


def test_python_sources_are_taken_over_and_run(engine: Engine, container: str, wanted: Image) -> None:
    """A changed file, a new one and one that is gone, by ``tar`` and ``rm`` as the user of the image."""
    syncs = {step.local: step.remote for step in wanted.live_update if isinstance(step, Sync)}
    package = syncs[f"services/{SERVICE}"]
    original = (ROOT / "services" / SERVICE / "__init__.py").read_text(encoding="utf-8")
    extract(
        engine, container, {f"{package}/__init__.py": original + "SPOKEN = 'live'\n", f"{package}/new.py": "A = 1\n"}
    )
    said = python(engine, container, f"from services.{SERVICE} import SPOKEN, new; print(SPOKEN, new.A)")
    assert said == "live 1"
    engine.run("exec", container, "rm", "-rf", f"{package}/new.py")
    with pytest.raises(DockerFailed, match=r"ImportError|ModuleNotFoundError"):
        python(engine, container, f"from services.{SERVICE} import new")


def test_every_synced_path_can_be_written(engine: Engine, container: str, wanted: Image) -> None:
    syncs = [step for step in wanted.live_update if isinstance(step, Sync)]
    assert len(syncs) == 5
    for step in syncs:
        place = step.remote if (ROOT / step.local).is_file() else f"{step.remote}/__init__.py"
        local = step.local if (ROOT / step.local).is_file() else f"{step.local}/__init__.py"
        marked = (ROOT / local).read_text(encoding="utf-8") + "# seen\n"
        extract(engine, container, {place: marked})
        assert engine.run("exec", container, "tail", "-n", "1", place) == "# seen", place


def test_the_restart_file_is_there_and_its_user_may_write_it(engine: Engine, container: str, wanted: Image) -> None:
    assert engine.run("exec", container, "cat", wanted.restart_file) == ""
    engine.run("exec", container, "sh", "-c", f"date > {wanted.restart_file}")
    assert engine.run("exec", container, "cat", wanted.restart_file)


def test_the_start_command_exists_in_the_image(engine: Engine, container: str, wanted: Image) -> None:
    shown = engine.run("exec", container, *wanted.entrypoint[:-1], "--help")
    assert SERVICE in shown


def test_nothing_else_can_be_written(engine: Engine, container: str) -> None:
    for place in ("/opt/conclave/x", "/usr/local/lib/conclave/x", "/app/x"):
        with pytest.raises(DockerFailed, match="Permission denied"):
            engine.run("exec", container, "touch", place)


def extract(engine: Engine, container: str, files: Mapping[str, str]) -> None:
    """As Tilt does: an archive with paths from the root, taken apart in the container."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    given = archive.getvalue().decode("utf-8")
    engine.run("exec", "--interactive", container, "tar", "-C", "/", "-x", "-f", "-", given=given)


def python(engine: Engine, container: str, code: str) -> str:
    return engine.run("exec", container, "python", "-c", code)
