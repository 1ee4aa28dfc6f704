"""Make images that take the place of the official ones where no registry is reached: from Debian's packages and PyPI.

    python scripts/stand_in_images.py                                      needs root, Debian and a running engine
    docker-compose --env-file .conclave/stand-ins.env up

They keep the official images' contracts as far as docker-compose.yml and the tests use them: paths, ports, users,
entry points and their variables. The base is made by debootstrap, from the packages' mirror that this machine uses, and
has this machine's certificates and package index; the others are built on it from scripts/stand_ins/NAME. An image
that is there and was made by the same recipe, which its label says, is not made again.

Grafana has no stand-in: Debian has no package of it.
"""

from __future__ import annotations  # so that an older Python is told which one is needed

import argparse
import configparser
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.debian_packages import installed_from_debian, is_root
from scripts.docker_engine import DockerFailed, Engine, EngineNotFound, running_engine

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "scripts" / "stand_ins"
ENV_FILE = ROOT / ".conclave" / "stand-ins.env"
PREFIX = "stand-in/"
RECIPE_LABEL = "conclave.recipe"
BUILD_TIMEOUT = 1200.0  # seconds
RELEASE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))

# The variables of docker-compose.yml that name images of others, with their defaults, and what takes their place.
OFFICIAL_IMAGES = {
    "BASE_IMAGE": "python:3.11-slim-bookworm",
    "RABBITMQ_IMAGE": "rabbitmq:4.2.5-management",
    "MONGO_IMAGE": "mongo:8.0.21",
    "REDIS_IMAGE": "redis:8.6.3",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0",
    "BALANCER_IMAGE": "haproxy:3.2",
}
STAND_INS = {
    "BASE_IMAGE": "stand-in/python:3.11",
    "RABBITMQ_IMAGE": "stand-in/rabbitmq:3.10",
    "MONGO_IMAGE": "stand-in/mongo:8.0",
    "REDIS_IMAGE": "stand-in/redis:7",
    "PROMETHEUS_IMAGE": "stand-in/prometheus:2",
    "BALANCER_IMAGE": "stand-in/haproxy:2",
}
# Which of this machine's files a recipe takes beside its own folder.
ALSO_NEEDS = {"mongo": ("requirements-dev.lock",)}

Say = Callable[[str], None]


class NoStandIns(Exception):
    """They cannot be made here; the message says why."""


def make_stand_ins(engine: Engine, wanted: Sequence[str] = tuple(STAND_INS), say: Say | None = None) -> dict[str, str]:
    """Make those that are missing or whose recipe has changed.

    Args:
        wanted: names of variables; the base is made too where another needs it.
        say: is told what is made, since that takes minutes; none = standard output.

    Returns:
        the image's name for each wanted variable.

    Raises:
        NoStandIns: this is no Debian, or the user is not root.
        DockerFailed: an image could not be built.
    """
    tell = say or _say
    mirror = packages_mirror()
    certificates = CERTIFICATES.read_bytes() if CERTIFICATES.exists() else b""
    pip = pip_configuration()
    base = STAND_INS["BASE_IMAGE"]
    base_recipe = _digest(RELEASE, *PACKAGES, mirror, certificates, pip, inspect.getsource(_make_base))
    _made(engine, base, base_recipe, tell, lambda: _make_base(engine, mirror, certificates, pip, base_recipe))
    for variable in wanted:
        image = STAND_INS[variable]
        if image != base:
            recipe = _digest(base_recipe, *_contents(_recipe_name(image)))
            _made(engine, image, recipe, tell, lambda: _build(engine, image, recipe))  # noqa: B023 (called at once)
    return {variable: STAND_INS[variable] for variable in wanted}


def write_env_file(images: Mapping[str, str], path: Path = ENV_FILE) -> Path:
    """Write the variables for ``docker-compose --env-file``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}={image}" for name, image in {**images, "BUILD_NETWORK": "host"}.items()]
    path.write_text("# Written by scripts/stand_in_images.py\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def is_stand_in(image: str) -> bool:
    return image.startswith(PREFIX)


def build_options(base_image: str) -> list[str]:
    """What ``docker build`` needs on this machine beside the base image: a stand-in has no registry around it, so what
    it was made from is reached as the machine itself reaches it."""
    return ["--network", "host"] if is_stand_in(base_image) else []


def packages_mirror() -> str:
    """The address of Debian's packages that apt uses here.

    Raises:
        NoStandIns: there is none.
    """
    for path in SOURCES:
        if path.exists():
            text = path.read_text(encoding="utf-8")
            found = re.search(r"^URIs:\s*(\S+)|^deb\s+(?:\[[^\]]*\]\s+)?(\S+)", text, re.MULTILINE)
            if found is not None:
                return str(found[1] or found[2])
    raise NoStandIns(f"this machine has no sources of Debian's packages: {' and '.join(map(str, SOURCES))} name none")


def pip_configuration() -> str:
    """A pip.conf for the base: this machine's package index, and its certificates, for pip has others of its own.

    Folders of this machine are left out, which an image does not see."""
    settings = {"cert": str(CERTIFICATES)} if CERTIFICATES.exists() else {}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, cwd=ROOT
    ).stdout
    for line in listed.splitlines():  # global.index-url='https://...'
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        addresses = [word for word in value.strip("'\"").split() if word.startswith(("http://", "https://"))]
        if key in ("index-url", "extra-index-url") and addresses:
            settings[key] = " ".join(addresses)
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in parser["global"].items())


# ---- making one


def _made(engine: Engine, image: str, recipe: str, say: Say, make: Callable[[], None]) -> None:
    try:
        there = engine.run("image", "inspect", "--format", f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}', image)
    except DockerFailed:
        there = None
    if there == recipe:
        return
    say(f"making {image}")
    began = time.monotonic()
    make()
    engine.run("image", "prune", "--force", "--filter", f"label={RECIPE_LABEL}")  # the one it takes the place of
    say(f"made {image} in {time.monotonic() - began:.0f} s")


def _make_base(engine: Engine, mirror: str, certificates: bytes, pip: str, recipe: str) -> None:
    if not is_root():
        raise NoStandIns("only root can make a root file system with debootstrap")
    if shutil.which("debootstrap") is None and not installed_from_debian("debootstrap"):
        raise NoStandIns("no debootstrap, and Debian's package of it cannot be installed")
    with tempfile.TemporaryDirectory(prefix="conclave-base-") as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, str(root), mirror]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoStandIns(f"debootstrap failed: {(done.stdout + done.stderr).strip()[-500:]}")
        for leftovers in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*.log"):
            for path in root.glob(leftovers):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (root / "usr/bin/python").symlink_to("python3")
        if certificates:
            (root / CERTIFICATES.relative_to("/")).write_bytes(certificates)
        (root / "etc/pip.conf").write_text(pip, encoding="utf-8")
        archive = Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        changes = (f'LABEL {RECIPE_LABEL}="{recipe}"', 'CMD ["python3"]', "ENV LANG=C.UTF-8")
        options = [part for change in changes for part in ("--change", change)]
        engine.run("import", *options, str(archive), STAND_INS["BASE_IMAGE"], timeout=BUILD_TIMEOUT)


def _build(engine: Engine, image: str, recipe: str) -> None:
    name, base = _recipe_name(image), STAND_INS["BASE_IMAGE"]
    with tempfile.TemporaryDirectory(prefix=f"conclave-{name}-") as folder:
        context = Path(folder) / name
        shutil.copytree(RECIPES / name, context, ignore=shutil.ignore_patterns("__pycache__"))
        for other in ALSO_NEEDS.get(name, ()):
            shutil.copy(ROOT / other, context)
        engine.run(
            *("build", "--tag", image, "--build-arg", f"BASE_IMAGE={base}", "--label", f"{RECIPE_LABEL}={recipe}"),
            *build_options(base),
            str(context),
            timeout=BUILD_TIMEOUT,
        )


def _recipe_name(image: str) -> str:
    return image.removeprefix(PREFIX).partition(":")[0]


def _contents(name: str) -> list[bytes]:
    own = sorted(path for path in (RECIPES / name).iterdir() if path.is_file())
    return [path.read_bytes() for path in (*own, *(ROOT / other for other in ALSO_NEEDS.get(name, ())))]


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def _say(text: str) -> None:
    print(f"stand-ins: {text}", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    try:
        images = make_stand_ins(running_engine())
    except EngineNotFound as error:
        print(f"{error}\nAs root on Debian, python scripts/docker_engine.py start starts one.", file=sys.stderr)
        return 1
    except (NoStandIns, DockerFailed) as error:
        print(error, file=sys.stderr)
        return 1
    path = write_env_file(images)
    shown = os.path.relpath(path)
    _say(f"all there; docker-compose --env-file {shown} up")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
