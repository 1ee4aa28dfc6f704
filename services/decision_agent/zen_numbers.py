"""Which numbers zen-engine holds exactly, and which it hands back rounded.

It computes in decimals of 28 digits and reads integers of 64 bits. Larger integers and numbers above 7.9e28 are
refused before it sees them; what it computes beyond 2^53 comes back as a rounded float, and that is said.
"""

from decimal import Decimal
from typing import Any

from services.decision_agent.options import Notes
from services.decision_agent.refusal import refuse

_LARGEST_DECIMAL = Decimal(2**96)
_PLACES = -28
_LOSS_IS_NOTHING = Decimal("5e-17")
_EXACT_INTEGER = 2**53
_MAX_DEPTH = 64


def check_facts(value: Any, where: str, depth: int = 0) -> None:
    """Refuse facts that the engine would round or choke on.

    Raises:
        CapabilityError: ``UnrepresentableNumber``, or ``InvalidInputs`` for facts nested too deeply.
    """
    if isinstance(value, bool | str) or value is None:
        return
    if depth > _MAX_DEPTH:
        raise refuse("InvalidInputs", f"{where}: nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict):
        for name, item in value.items():
            check_facts(item, f"{where}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            check_facts(item, f"{where}[{number}]", depth + 1)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise refuse("UnrepresentableNumber", f"{where}: {value} does not fit into 64 bits; send it as text")
    elif not _is_held(value):
        raise refuse(
            "UnrepresentableNumber",
            f"{where}: {value} cannot be held by the rules engine: it computes in decimals of 28 places up to 7.9e28",
        )


def read_result(value: Any, where: str, notes: Notes) -> Any:
    """What the engine computed: whole floats as integers, and a warning where it must have rounded."""
    if isinstance(value, dict):
        return {name: read_result(item, f"{where}.{name}", notes) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [read_result(item, where, notes) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        notes.warn(f"{where}: {value} does not fit into 64 bits with a sign, so it is given as text")
        return str(value)
    if isinstance(value, float):
        if abs(value) > _EXACT_INTEGER:
            notes.warn(f"{where}: {value!r} is beyond 2^53, where the rules engine hands back rounded numbers")
        elif value.is_integer():
            return int(value)
    return value


def _is_held(value: float) -> bool:
    if value != value or value in (float("inf"), float("-inf")):
        return False
    exact = Decimal(repr(value))
    if abs(exact) >= _LARGEST_DECIMAL:
        return False
    # Digits beyond the 28th place are lost, which matters only to numbers that are next to nothing.
    exponent = exact.as_tuple().exponent
    return (isinstance(exponent, int) and exponent >= _PLACES) or abs(exact) >= _LOSS_IS_NOTHING
