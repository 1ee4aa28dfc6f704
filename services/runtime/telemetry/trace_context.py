"""Which trace the work in hand belongs to, and the ids of what is traced. Nothing here needs OpenTelemetry.

The ids of executions and attempts are made of their names, so that whoever ends one knows what was sent as its id by
whoever began it.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Final, NamedTuple

_LAST = 2**64


class TraceContext(NamedTuple):
    """A span, as those need it who refer to it. Ids are never 0."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


def read(traceparent: str) -> TraceContext | None:
    """What a normalized traceparent (``contracts.traceparent``) says; None of an empty one."""
    if not traceparent:
        return None
    return TraceContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), traceparent.endswith("1"))


def is_sampled(traceparent: str) -> bool:
    """Whether a normalized traceparent says that its trace is recorded."""
    return traceparent.endswith("1")


# ---- the work in hand

# Hardly any work sends something: its span is put into words only then.
_current: ContextVar[str | TraceContext] = ContextVar("trace_context", default="")


def current_traceparent() -> str:
    """The span that the calling work stands under; empty where there is none."""
    current = _current.get()
    return current if isinstance(current, str) else current.traceparent


def carry(span: str | TraceContext) -> None:
    """From here to the end of the task, work stands under that span; a text is a traceparent, or empty."""
    _current.set(span)


@contextmanager
def carrying(span: str | TraceContext) -> Iterator[None]:
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


# ---- ids


def new_root(ratio: float) -> TraceContext:
    """The first span of a new trace, which is recorded by chance: ``ratio`` of 1 always, of 0 never."""
    trace_id = random.getrandbits(128) or 1  # nosec B311
    return TraceContext(trace_id, new_span_id(), within(ratio, trace_id))


def child_of(parent: TraceContext) -> TraceContext:
    """A new span under another."""
    return TraceContext(parent.trace_id, new_span_id(), parent.sampled)


def new_span_id() -> int:
    return random.getrandbits(64) or 1  # nosec B311


def within(ratio: float, trace_id: int) -> bool:
    """Whether a trace is among the share that is recorded: by its id alone, as OpenTelemetry's TraceIdRatioBased."""
    return trace_id % _LAST < round(ratio * _LAST)


def execution_root(execution_id: str, ratio: float) -> TraceContext:
    """The span of an execution that came without a trace, and is the first of one of its own."""
    digest = blake2b(execution_id.encode(), digest_size=16, person=b"conclave.trace").digest()
    trace_id = int.from_bytes(digest, "big") or 1
    return TraceContext(trace_id, int(execution_span_id(execution_id), 16), within(ratio, trace_id))


def execution_span_id(execution_id: str) -> str:
    """16 hexadecimal digits."""
    return _span_id(execution_id)


def attempt_span_id(execution_id: str, step: str, attempt: int) -> str:
    """16 hexadecimal digits."""
    return _span_id(f"{execution_id}/{step}/{attempt}")


def attempt_context(execution: TraceContext, execution_id: str, step: str, attempt: int) -> TraceContext:
    """The span of an attempt, of an execution that is recorded and whose own span is ``execution``."""
    digest = _span_digest(f"{execution_id}/{step}/{attempt}").digest()
    return TraceContext(execution.trace_id, int.from_bytes(digest) or 1, True)


def attempt_traceparent(started: str, execution_id: str, step: str, attempt: int) -> str:
    """What is sent with an attempt: its span, in the trace that the execution was started in (``started``, the
    traceparent of its start). Of a trace that is not recorded, the start's own: nobody will look for the attempt."""
    if not is_sampled(started):
        return started
    return f"{started[:36]}{attempt_span_id(execution_id, step, attempt)}-01"


def execution_traceparent(started: str, execution_id: str) -> str:
    """What is sent with messages about an execution: its own span, by the same rule."""
    return f"{started[:36]}{execution_span_id(execution_id)}-01" if is_sampled(started) else started


def _span_id(name: str) -> str:
    # An execution's id has no slash, so its own id and those of its attempts are never made of the same text.
    digest = _span_digest(name).hexdigest()
    return digest if digest.strip("0") else "1".zfill(16)


_BEGUN: Final = blake2b(digest_size=8, person=b"conclave.span")


def _span_digest(name: str) -> blake2b:
    # A copy of one that has its parameters takes half the time of a new one.
    digest = _BEGUN.copy()
    digest.update(name.encode())
    return digest
