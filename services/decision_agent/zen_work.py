"""How long a ZEN expression may take: walks over lists and ranges, and walks within walks.

zen-engine cannot be interrupted, and while it evaluates nothing else of the process runs. What it does for each byte of
an expression is quick, but for walks: a range that is written out is a list of any length, and a walk within a walk
goes over a list as often as another is long. Measured: 27 ns for each element.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from services.decision_agent.refusal import refuse

MAX_RANGE = 100_000  # elements of a range that is walked
MAX_INNER_RANGE = 1_000  # where walks stand within each other
MAX_WALKS_WITHIN = 2
MAX_LIST = 3_000  # elements of any list in a record, where walks stand within each other

_WALKS = "map|flatMap|filter|some|all|none|one|count"
_WALK = re.compile(rf"\b(?:{_WALKS})\s*$")
_TOKEN = re.compile(r"[(\[{)\]}]|\.\.")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MEMBER = re.compile(r"\bin\s*$")
_RANGE = re.compile(r"[\[(\]]\s*([^,()\[\]]*?)\s*\.\.\s*([^,()\[\]]*?)\s*[\])\[]")


def walks_within_walks(bare: str) -> int:
    """How many walks stand within each other at most; ``bare`` is an expression without its string literals."""
    open_walks: list[bool] = []
    deepest = 0
    for found in _TOKEN.finditer(bare):
        bracket = found[0]
        if bracket in "([{":
            open_walks.append(
                bracket == "(" and _WALK.search(bare, max(0, found.start() - 20), found.start()) is not None
            )
            deepest = max(deepest, sum(open_walks))
        elif bracket in ")]}" and open_walks:
            open_walks.pop()
    return deepest


def check_walks(bare: str, text: str, where: str) -> None:
    """Refuse an expression whose walks could take very long.

    Raises:
        CapabilityError: ``BadExpression``.
    """
    deepest = walks_within_walks(bare)
    if deepest > MAX_WALKS_WITHIN:
        raise refuse(
            "BadExpression",
            f"{where}: {text!r} has {deepest} walks within each other; at most {MAX_WALKS_WITHIN} are taken",
        )
    if not deepest:
        return  # a range is a condition here, and nothing goes over it
    most = MAX_RANGE if deepest == 1 else MAX_INNER_RANGE
    found = 0
    for each in _RANGE.finditer(bare):
        found += 1
        before = bare[max(0, each.start() - 20) : each.start()]
        if _MEMBER.search(before):
            continue
        low, high = each[1], each[2]
        known = _NUMBER.fullmatch(low) and _NUMBER.fullmatch(high)
        walked = before.rstrip().endswith("(") and _WALK.search(before.rstrip()[:-1])
        if not walked or not known or float(high) - float(low) > most:
            raise refuse(
                "BadExpression",
                f"{where}: {text!r} walks over the range {low}..{high}, or hands it on; only ranges between written "
                f"numbers and up to {most} long are walked, where they stand in the walk itself",
            )
    if found < bare.count(".."):
        raise refuse("BadExpression", f"{where}: {text!r} has a range whose ends cannot be told")


def check_lists(record: Mapping[str, Any], where: str) -> None:
    """For expressions with walks within walks.

    Raises:
        CapabilityError: ``RuleExpressionFailed``: a list of the record is too long for them.
    """
    longest = max(_lengths(record), default=0)
    if longest > MAX_LIST:
        raise refuse(
            "RuleExpressionFailed",
            f"{where}: a list of {longest} elements, where an expression goes over lists within lists; at most"
            f" {MAX_LIST} are taken there",
        )


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a document."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, Mapping):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)


def _lengths(value: Any) -> Iterator[int]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            yield len(part)
            waiting.extend(part)
