"""Edges and broker clients that wait long for answers.

In production an edge says 503, and a client of RabbitMQ that the broker is away, after about two seconds. A machine
that tests share stands still for longer now and then, and when that happens is not what most of them try.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from services.runtime.bus.rabbit import RabbitBus
from services.runtime.telemetry import health

SECONDS = 25.0  # less than clients of tests wait for an answer

# For tests of how long an edge waits: where the fixture of this name makes every edge patient, it does not.
in_a_hurry = pytest.mark.parametrize("patience", [False], ids=["in_a_hurry"], indirect=True)


@contextmanager
def patient_edge() -> Iterator[None]:
    """Every edge of this process whose settings are read in the block. How long a client says that it waits holds as it
    is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSWER_TIMEOUT", f"{SECONDS:g}")
        patch.setattr(health, "ANSWER_TIMEOUT", SECONDS)
        yield


@contextmanager
def patient_publishing() -> Iterator[None]:
    """Each client of RabbitMQ made in the block waits long for the broker's confirms, if it is not told otherwise."""
    defaults = RabbitBus.__init__.__kwdefaults__
    assert defaults is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(defaults, "confirm_timeout", SECONDS)
        yield
