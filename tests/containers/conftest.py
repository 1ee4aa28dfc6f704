"""What the tests that need Docker share: an engine, the images that others make, and the project's own.

Every module here begins with ``pytestmark = pytest.mark.docker``. ``scripts/run_tests.py`` runs them one after the
other, after the tests that run side by side, and starts an engine for them where it can; a plain ``pytest`` uses one
that runs already, and skips them where there is none.

``engine``          a running ``scripts.docker_engine.Engine``: ``engine.run("ps")`` and so on
``images``          the images that others make, by the name of their variable in docker-compose.yml (``BASE_IMAGE``,
                    ``RABBITMQ_IMAGE``, ``MONGO_IMAGE``, ``REDIS_IMAGE``, ``PROMETHEUS_IMAGE``, ``BALANCER_IMAGE``):
                    the official ones where they can be had, else stand-ins
``service_images``  every target of the Dockerfile, built: ``service_images["edge"] == "conclave/edge:IMAGE_TAG"``
"""

from collections.abc import Iterator, Mapping

import pytest

from scripts.docker_engine import Engine, EngineNotFound, docker_engine
from tests.support.docker_images import available_images, build_targets


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running Docker engine; where there is none the test is skipped, and its reason says why there is none."""
    try:
        with docker_engine(start=False) as found:
            yield found
    except EngineNotFound as error:
        pytest.skip(f"not run: {error}")


@pytest.fixture(scope="session")
def images(engine: Engine) -> Mapping[str, str]:
    """The image for each variable of docker-compose.yml, all of them in the engine's store."""
    return available_images(engine)


@pytest.fixture(scope="session")
def service_images(engine: Engine, images: Mapping[str, str]) -> Mapping[str, str]:
    """Every target of the Dockerfile, built from what is in the checkout now; the names by target."""
    return build_targets(engine, images["BASE_IMAGE"])
