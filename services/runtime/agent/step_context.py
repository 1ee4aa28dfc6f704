"""Which step a capability works on, how far it is, and whether anybody still waits for it.

``current_step`` and ``report_progress`` are for capabilities, asynchronous ones and those in worker threads alike. A
thread that a capability starts by itself does not know its step: hand it the ``StepContext``, and call ``report`` on
that.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

LONGEST_NOTE = 1_000  # characters, as contracts.execution.StepProgress has it

Report = Callable[[float, str], None]


class WorkCancelled(Exception):
    """Nobody waits for this work any more: its execution was cancelled, or its attempt has timed out."""


@dataclass(slots=True, eq=False)
class StepContext:
    """The attempt in hand. ``idempotency_key`` (``execution/step``) is the same for every attempt and every repeat of
    one: hand it to whatever is called outside, and an effect happens once however often the step runs.

    May be asked from any thread.
    """

    execution_id: str
    step: str
    attempt: int
    correlation_id: str = ""
    # Called with the fraction and the note of every report.
    on_report: Report | None = field(default=None, repr=False)
    _cancelled: bool = field(default=False, init=False, repr=False)
    _to_call: list[Callable[[], object]] = field(default_factory=list, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __reduce__(self) -> tuple[type["StepContext"], tuple[str, str, int, str]]:
        """In another process it still says which step this is; reports and cancellation do not reach there."""
        return StepContext, (self.execution_id, self.step, self.attempt, self.correlation_id)

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}/{self.step}"

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this work any more. Asynchronous work is cancelled as tasks are; work in a thread
        has to look here, or to report its progress, now and then."""
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """
        Raises:
            WorkCancelled: nobody waits for this work any more; let it pass through.
        """
        if self._cancelled:
            raise WorkCancelled(f"{self.execution_id}/{self.step}: nobody waits for attempt {self.attempt} any more")

    def report(self, fraction: float, note: str = "") -> None:
        """As ``report_progress``, of this step."""
        fraction = _checked(fraction)
        self.raise_if_cancelled()
        if self.on_report is not None:
            self.on_report(fraction, str(note)[:LONGEST_NOTE].encode(errors="replace").decode())

    @contextmanager
    def when_cancelled(self, call: Callable[[], object]) -> Iterator[None]:
        """Within this block, ``call`` is called when the work is cancelled; at once if it has been. It may be called
        from another thread, and must not block. It is never called, nor still under way, after the block."""
        with self._lock:
            self._to_call.append(call)
            if self._cancelled:
                self._tell(call)
        try:
            yield
        finally:
            with self._lock:
                self._to_call.remove(call)

    def cancel(self) -> None:
        """The host's: say that nobody waits for this work any more."""
        with self._lock:
            if not self._cancelled:
                self._cancelled = True
                for call in self._to_call:
                    self._tell(call)

    def _tell(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:  # the work's own, and it must not keep others from being cancelled
            log.exception("could not be told of its cancellation", execution_id=self.execution_id, step=self.step)


_current: ContextVar[StepContext | None] = ContextVar("step_context", default=None)


def current_step() -> StepContext | None:
    """The step that the calling capability works on; None where it was called otherwise, by a message say."""
    return _current.get()


def report_progress(fraction: float, note: str = "") -> None:
    """Say how far the step in hand is: a ``fraction`` from 0 to 1, and a ``note`` of at most 1,000 characters (a longer
    one is cut). The step's time limit starts anew. Report as often as is handy: about one report a second leaves the
    host, always the latest. Outside of a step this does nothing.

    Raises:
        ValueError: the fraction is no number from 0 to 1.
        WorkCancelled: nobody waits for the step any more; let it pass through.
    """
    context = _current.get()
    if context is None:
        _checked(fraction)
    else:
        context.report(fraction, note)


class working_on:
    """A block in which ``current_step`` is ``context``. A class, since every step passes here and one costs a third of
    a generator."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: StepContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _current.set(self._context)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def _checked(fraction: float) -> float:
    """The fraction as a plain float, whatever kind of number it was.

    Raises:
        ValueError: see ``report_progress``.
    """
    try:
        value = float(fraction)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0 <= value <= 1:
        raise ValueError(f"progress is a fraction from 0 to 1, not {fraction!r}")
    return value
