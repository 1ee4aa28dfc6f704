"""What a step of the fault workflows gives: a function of nothing but its key and what it takes."""

import hashlib
import json
from collections.abc import Mapping


def step_value(key: str, takes: Mapping[str, str | None]) -> str:
    """The value of the step with this idempotency key (``execution/step``); ``takes`` are the values of the steps it
    waits for, null for one that gave none. The agent and the checker each work it out for themselves."""
    canonical = json.dumps([key, dict(takes)], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]
