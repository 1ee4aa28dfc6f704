"""The example of a plain file: its formula against values that are known exactly."""

from pathlib import Path
from typing import Any

import pytest

from services.plugin_agent.loading import load_plugins
from services.plugin_agent.sources import folder_plugins
from services.runtime.agent import CapabilityError, Mail

FOLDER = Path(__file__).resolve().parents[4] / "examples" / "plugins" / "folder"


async def convert(value: float, unit: str, to: str) -> Any:
    loaded = load_plugins(folder_plugins(FOLDER))
    assert loaded.faults == ()
    agent = loaded.classes["unit_converter"]("test")
    await agent.start()
    answer = await agent.perform("convert", {"quantities": [{"value": value, "unit": unit}], "to": to})
    return answer["values"][0]


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [
        (1, "mi", "m", 1609.344),
        (3, "ft", "yd", 1.0),
        (12, "in", "cm", 30.48),
        (16, "oz", "lb", 1.0),
        (1, "lb", "g", 453.59237),
        (1, "gal", "l", 3.785411784),
        (0, "C", "K", 273.15),
        (212, "F", "C", 100.0),
        (-40, "C", "F", -40.0),
        (0, "K", "F", -459.67),
    ],
)
async def test_units_are_converted_exactly(value: float, unit: str, to: str, expected: float) -> None:
    assert await convert(value, unit, to) == expected


@pytest.mark.parametrize(
    ("unit", "to", "code"),
    [("furlong", "m", "UnknownUnit"), ("m", "?", "UnknownUnit"), ("kg", "m", "DimensionsDiffer")],
)
async def test_what_cannot_be_converted_is_refused_by_name(unit: str, to: str, code: str) -> None:
    with pytest.raises(CapabilityError) as refused:
        await convert(1, unit, to)
    assert (refused.value.code, refused.value.retryable) == (code, False)


async def test_all_units_are_told() -> None:
    agent = load_plugins(folder_plugins(FOLDER)).classes["unit_converter"]("test")
    await agent.start()
    told = await agent.receive(Mail({}, message_type="units"))
    assert {dimension: len(units) for dimension, units in told["units"].items()} == {
        "length": 9,
        "mass": 5,
        "volume": 4,
        "temperature": 3,
    }
