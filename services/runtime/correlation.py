"""Which request the calling work belongs to, so that what it sends carries the request's correlation id on."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("correlation_id", default="")


def current_correlation() -> str:
    """The correlation id of the work in hand; empty where there is none."""
    return _current.get()


def follow(correlation_id: str) -> None:
    """From here to the end of the task, work belongs to that request."""
    _current.set(correlation_id)


@contextmanager
def following(correlation_id: str) -> Iterator[None]:
    token = _current.set(correlation_id)
    try:
        yield
    finally:
        _current.reset(token)
