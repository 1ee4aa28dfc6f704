"""A bus around another leaves nothing of it out."""

from services.runtime.bus.base import Bus
from services.runtime.bus.bus_around import BusAround


def test_everything_that_a_bus_does_is_passed_on() -> None:
    abilities = {name for name in vars(Bus) if not name.startswith("_")}
    assert abilities
    assert abilities <= vars(BusAround).keys()
