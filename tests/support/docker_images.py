"""The images that tests run: the official ones or their stand-ins, and the project's own, built as they are now."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.docker_engine import DockerFailed, Engine
from scripts.stand_in_images import OFFICIAL_IMAGES, build_options, make_stand_ins

ROOT = Path(__file__).resolve().parents[2]
IMAGE_TAG = "under-test"  # beside an installation's own images, not over them
BUILD_TIMEOUT = 1200.0  # seconds
PULL_TIMEOUT = 300.0


def targets() -> list[str]:
    """The Dockerfile's targets that are images: one for each service, and ``tools``."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return re.findall(r"^FROM (?:service|base) AS (?!service$)(\w+)$", text, re.MULTILINE)


def image_name(target: str) -> str:
    return f"conclave/{target}:{IMAGE_TAG}"


def available_images(engine: Engine) -> Mapping[str, str]:
    """For each variable of docker-compose.yml an image in the engine's store: what the environment names, the official
    ones, or where one of those cannot be pulled, stand-ins for all."""
    official = {name: os.environ.get(name, default) for name, default in OFFICIAL_IMAGES.items()}
    if all(_is_or_comes(engine, image) for image in official.values()):
        return official
    given = {name: os.environ[name] for name in OFFICIAL_IMAGES if name in os.environ}
    return make_stand_ins(engine, [name for name in OFFICIAL_IMAGES if name not in given]) | given


def build_targets(engine: Engine, base_image: str, wanted: Sequence[str] = ()) -> Mapping[str, str]:
    """Build the wanted targets (none = all), one after the other so that they share what is the same; their images."""
    built = {}
    for target in wanted or targets():
        built[target] = image_name(target)
        engine.run(
            *("build", "--target", target, "--tag", built[target]),
            *("--build-arg", f"BASE_IMAGE={base_image}", "--build-arg", f"VERSION={IMAGE_TAG}"),
            *build_options(base_image),
            str(ROOT),
            timeout=BUILD_TIMEOUT,
        )
    # Those whose names the new ones have now; what they were built from stays in the builder's cache.
    engine.run("image", "prune", "--force", "--filter", "label=org.opencontainers.image.vendor=Conclave")
    return built


def _is_or_comes(engine: Engine, image: str) -> bool:
    if engine.has_image(image):
        return True
    try:
        engine.run("pull", "--quiet", image, timeout=PULL_TIMEOUT)
    except DockerFailed:
        return False
    return True
