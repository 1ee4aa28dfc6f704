"""Workloads as workflow definitions, and the bytes that travel through them."""

from collections.abc import Sequence
from typing import Any

from benchmarks.rounds import Workload

AGENT_TYPE = "benchmark_echo"
ACTION = "echo"
_FILLER = "abcdefghijklmnopqrstuvwxyz0123456789"


class UnknownShape(ValueError):
    """No definition can be made for a workload of this shape."""


def definition(workload: Workload) -> dict[str, Any]:
    """The workload's workflow. Every step but the first passes on what a step before it put out.

    Raises:
        UnknownShape: the shape is none of ``chain``, ``fan``, ``layered`` and ``start``.
    """
    match workload.shape:
        case "chain" | "start":
            steps = _chain(workload.steps)
        case "fan":
            steps = _fan(workload.steps - 2)
        case "layered":
            steps = _layers(workload.steps, workload.width)
        case other:
            raise UnknownShape(f"workload {workload.name}: shape {other!r} is not chain, fan, layered or start")
    return {"name": f"benchmark {workload.name}", "steps": steps}


def payload_of(number: int, size: int) -> str:
    """``size`` characters of one byte each, other ones for every number (as far as 12 characters can tell)."""
    head = f"{number:012d}"[-size:]
    repeats = (size - len(head)) // len(_FILLER) + 1
    return head + (_FILLER * repeats)[: size - len(head)]


def _step(name: str, source: str, waits_for: Sequence[str] = ()) -> dict[str, Any]:
    step = {"id": name, "agent_type": AGENT_TYPE, "action": ACTION, "inputs": {"payload": source}}
    return {**step, "depends_on": list(waits_for)} if waits_for else step


def _chain(length: int) -> list[dict[str, Any]]:
    return [_step(f"s{i}", f"s{i - 1}.output.payload" if i else "inputs.payload") for i in range(length)]


def _fan(width: int) -> list[dict[str, Any]]:
    middle = [_step(f"m{i}", "first.output.payload") for i in range(width)]
    last = _step("last", "m0.output.payload", [step["id"] for step in middle])
    return [_step("first", "inputs.payload"), *middle, last]


def _layers(count: int, width: int) -> list[dict[str, Any]]:
    steps = []
    for i in range(count):
        layer, column = divmod(i, width)
        if layer == 0:
            steps.append(_step(f"l0c{column}", "inputs.payload"))
            continue
        beside = (column + 1) % width
        above = [f"l{layer - 1}c{one}" for one in dict.fromkeys((column, beside))]
        steps.append(_step(f"l{layer}c{column}", f"{above[0]}.output.payload", above))
    return steps
