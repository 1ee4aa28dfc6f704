"""What nobody caught: exceptions that end the process or a thread, those that cannot be raised anywhere, and warnings.

They become log lines. What an event loop's tasks raise and nobody awaits asyncio logs by itself.
"""

import sys
import threading
import warnings
from types import TracebackType
from typing import Any, TextIO

import structlog

log = structlog.get_logger(__name__)


def log_what_nobody_caught() -> None:
    """From here on, in this process."""
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_a_thread
    sys.unraisablehook = _unraisable
    warnings.showwarning = _warning


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("uncaught exception, the process ends", exc_info=(kind, error, trace))


def _uncaught_in_a_thread(what: threading.ExceptHookArgs) -> None:
    if issubclass(what.exc_type, SystemExit):
        return
    name = what.thread.name if what.thread is not None else ""
    error = what.exc_value or what.exc_type()
    log.error("uncaught exception, the thread ends", thread=name, exc_info=(what.exc_type, error, what.exc_traceback))


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    error = what.exc_value or what.exc_type()
    where = f"{what.err_msg or 'exception ignored in'}: {what.object!r}"
    log.error("exception that cannot be raised", where=where, exc_info=(what.exc_type, error, what.exc_traceback))


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> Any:
    log.warning("Python warning", kind=category.__name__, text=str(message), where=f"{filename}:{lineno}")
