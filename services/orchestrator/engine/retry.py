"""Whether and when a failed attempt is tried again."""

import hashlib

from contracts.history import StepError
from contracts.workflow import RetryPolicy


def may_retry(policy: RetryPolicy, attempt: int, error: StepError) -> bool:
    wanted = error.type in policy.on if policy.on else error.retryable
    return wanted and attempt < policy.max_attempts


def backoff(policy: RetryPolicy, execution_id: str, step_id: str, attempt: int) -> float:
    """Seconds to wait after the failure of ``attempt``: exponential with a cap, then jitter of plus or minus the
    policy's fraction. The jitter is a hash of execution, step and attempt, so that deciding again decides the same."""
    wait = min(policy.backoff * policy.multiplier ** (attempt - 1), policy.max_backoff)
    digest = hashlib.blake2b(f"{execution_id}/{step_id}/{attempt}".encode(), digest_size=8).digest()
    unit = int.from_bytes(digest, "big") / 2**64
    return wait * (1 + policy.jitter * (2 * unit - 1))
