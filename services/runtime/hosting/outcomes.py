"""What comes of an agent's work, made fit to be sent: outputs that every reader can read, errors in words."""

import asyncio
from typing import Any

from pydantic_core import from_json, to_json

from services.runtime.agent import CapabilityError

LARGEST_OUTPUT = 8 * 1024 * 1024
_LEVELS_BESIDE = 100  # readers take 200 levels of JSON; half of them are left for what an output is put into


def is_ours_to_obey(error: BaseException) -> bool:
    """Whether the host itself is being stopped. An agent may raise CancelledError or SystemExit of its own, and then
    it is its work that fails, not the host."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit)


def sendable_size(output: Any, what: str) -> int:
    """The bytes of an output that every reader of it will be able to read; ``what`` names it in an error.

    Raises:
        CapabilityError: it is too large, or holds what JSON or its readers cannot (NaN, hundreds of levels).
    """
    try:
        encoded = to_json(output, inf_nan_mode="constants")
        if _may_be_unreadable(encoded):
            from_json(b"[" * _LEVELS_BESIDE + encoded + b"]" * _LEVELS_BESIDE, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise CapabilityError(f"{what} cannot be sent: {error}", code="InvalidOutput") from error
    if len(encoded) > LARGEST_OUTPUT:
        message = f"{what} is {len(encoded)} bytes; at most {LARGEST_OUTPUT} are allowed"
        raise CapabilityError(message, code="OutputTooLarge")
    return len(encoded)


def _may_be_unreadable(encoded: bytes) -> bool:
    """Whether it has to be read to be sure. Most outputs need not: so few brackets cannot nest too deep."""
    brackets = encoded.count(b"[") + encoded.count(b"{")
    return brackets > _LEVELS_BESIDE or b"NaN" in encoded or b"Infinity" in encoded
