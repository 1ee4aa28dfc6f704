"""A plugin in one plain file: converts quantities between units.

Each unit has a factor and an offset to the base unit of its dimension. With those,

    converted = (value * factor_from + offset_from - offset_to) / factor_to

in fractions, so that nothing is rounded before the end. All factors are exact by definition: the yard is 0.9144 m and
the pound 0.45359237 kg (International Yard and Pound Agreement, 1959), the US gallon 231 cubic inches, the nautical
mile 1852 m, 0 °C are 273.15 K, and °F = °C * 9/5 + 32.
"""

from fractions import Fraction
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from services.runtime.agent import BaseAgent, CapabilityError, Mail, capability, on_message

INCH = Fraction("0.0254")
POUND = Fraction("0.45359237")
ZERO_CELSIUS = Fraction("273.15")
ZERO_FAHRENHEIT = ZERO_CELSIUS - 32 * Fraction(5, 9)


class Unit(NamedTuple):
    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


UNITS = {
    "m": Unit("length", Fraction(1)),
    "mm": Unit("length", Fraction(1, 1000)),
    "cm": Unit("length", Fraction(1, 100)),
    "km": Unit("length", Fraction(1000)),
    "in": Unit("length", INCH),
    "ft": Unit("length", 12 * INCH),
    "yd": Unit("length", 36 * INCH),
    "mi": Unit("length", 63_360 * INCH),
    "nmi": Unit("length", Fraction(1852)),
    "kg": Unit("mass", Fraction(1)),
    "g": Unit("mass", Fraction(1, 1000)),
    "t": Unit("mass", Fraction(1000)),
    "lb": Unit("mass", POUND),
    "oz": Unit("mass", POUND / 16),
    "l": Unit("volume", Fraction(1)),
    "ml": Unit("volume", Fraction(1, 1000)),
    "m3": Unit("volume", Fraction(1000)),
    "gal": Unit("volume", 231 * INCH**3 * 1000),
    "K": Unit("temperature", Fraction(1)),
    "C": Unit("temperature", Fraction(1), ZERO_CELSIUS),
    "F": Unit("temperature", Fraction(5, 9), ZERO_FAHRENHEIT),
}


class Quantity(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: float = Field(allow_inf_nan=False)
    unit: str


class ConvertInputs(BaseModel):
    """``to``: the unit that all quantities shall have."""

    model_config = ConfigDict(extra="forbid")

    quantities: list[Quantity] = Field(max_length=100_000)
    to: str


class Converted(BaseModel):
    """The values in the order of the quantities."""

    values: list[float]
    unit: str
    dimension: str


class KnownUnits(BaseModel):
    """Names of units by their dimension."""

    units: dict[str, list[str]]


class UnitConverter(BaseAgent):
    """Converts lengths, masses, volumes and temperatures, so that figures from different sources can be compared."""

    agent_type = "unit_converter"

    @capability("convert")
    def convert(self, request: ConvertInputs) -> Converted:
        """Bring quantities to one unit: (value * factor_from + offset_from - offset_to) / factor_to."""
        to = _unit(request.to)
        values = [
            _converted(one.value, _unit(one.unit), to, f"{one.unit} to {request.to}") for one in request.quantities
        ]
        return Converted(values=values, unit=request.to, dimension=to.dimension)

    @on_message("units")
    def units(self, message: Mail) -> KnownUnits:
        """The units that are known; ``{"dimension": "mass"}`` asks for those of one dimension."""
        wanted = message.body.get("dimension")
        found: dict[str, list[str]] = {}
        for name, unit in UNITS.items():
            if wanted in (None, unit.dimension):
                found.setdefault(unit.dimension, []).append(name)
        return KnownUnits(units=found)


def _unit(name: str) -> Unit:
    try:
        return UNITS[name]
    except KeyError:
        raise CapabilityError(f"{name!r} is no unit; known are {', '.join(UNITS)}", code="UnknownUnit") from None


def _converted(value: float, source: Unit, to: Unit, what: str) -> float:
    if source.dimension != to.dimension:
        raise CapabilityError(f"{what}: {source.dimension} is not {to.dimension}", code="DimensionsDiffer")
    return float((Fraction(value) * source.factor + source.offset - to.offset) / to.factor)
