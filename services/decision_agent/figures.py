"""Figures as they leave the agent: finite, without rounding noise, and short where people read them."""

import json
import math
from typing import Any

# Two figures closer than this (relative to the scale of the scores) are the same figure: far above what rounding
# does to a score, far below any difference that could matter to a decision.
TIE = 1e-12


def tidy(value: float, scale: float = 1.0) -> float:
    """Twelve significant digits, and zero where only rounding noise is left.

    Raises:
        ArithmeticError: the figure is not finite, which no answer may carry (JSON has no NaN or Infinity).
    """
    number = float(value)
    if not math.isfinite(number):
        raise ArithmeticError(f"a figure of the decision came out as {number}")
    return 0.0 if abs(number) < TIE * scale else float(f"{number:.12g}")


def short(value: float) -> str:
    """Four significant digits, for sentences."""
    text = f"{tidy(value):.4g}"
    return text if "e" not in text or abs(value) >= 1e15 or abs(value) < 1e-4 else f"{float(text):.0f}"


def plain(value: Any) -> str:
    """A JSON value as text for sentences."""
    return json.dumps(value, ensure_ascii=False, default=str)
