"""How the decision agent refuses: by name, saying where and what is allowed."""

from collections.abc import Iterable
from typing import Any

from services.runtime.agent import CapabilityError


def refuse(code: str, message: str, **details: Any) -> CapabilityError:
    """An error for the caller to raise. A refused decision is the same when tried again, so never retryable."""
    return CapabilityError(message, code=code, details=details or None)


def listed(names: Iterable[object], limit: int = 12) -> str:
    """Names for a message: quoted, separated by commas, the rest counted."""
    items = [repr(str(name)) for name in names]
    if not items:
        return "none"
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
