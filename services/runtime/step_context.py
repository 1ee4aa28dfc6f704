"""Which step a capability works on, for those that need to know."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepContext:
    """The attempt in hand. ``idempotency_key`` (``execution/step``) is the same for every attempt and every repeat of
    one: hand it to whatever is called outside, and an effect happens once however often the step runs."""

    execution_id: str
    step: str
    attempt: int
    correlation_id: str = ""

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}/{self.step}"


_current: ContextVar[StepContext | None] = ContextVar("step_context", default=None)


def current_step() -> StepContext | None:
    """The step that the calling capability works on; None where it was called otherwise, by a message say."""
    return _current.get()


@contextmanager
def working_on(context: StepContext) -> Iterator[None]:
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
