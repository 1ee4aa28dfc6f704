"""Logging: structlog, as JSON lines or for a console, to standard error; the libraries' own logs, warnings and uncaught
exceptions in the same form.

Every line says when, how grave, which service and what (``timestamp``, ``level``, ``service``, ``event``), and which
request, execution, step and agent it is about, where that is known (``services.runtime.correlation``).
"""

import asyncio
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TextIO

import structlog

from services.runtime.library_lines import only_repeats
from services.runtime.log_lines import LONGEST_VALUE, LogLine, Shown, as_json, console
from services.runtime.settings import LogFormat, LogLevel, Settings
from services.runtime.uncaught import log_what_nobody_caught

__all__ = ["LONGEST_VALUE", "configure_logging", "logging_elsewhere"]

_CHATTY = ("aio_pika", "aiormq", "faststream", "pymongo", "asyncio", "uvicorn.access")
_CHATTY_BUT_FOR_DEBUG = "uvicorn.error"  # its servers' starts and ends, which services tell of themselves
# These print by themselves where they are started by their own command (``uvicorn ...``, ``faststream run ...``).
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream")
_OF_EVERY_RECORD = frozenset((*logging.makeLogRecord({}).__dict__, "message", "asctime"))
_ONLY_FOR_CONSOLES = "color_message"  # uvicorn's: its message again, with colours


def configure_logging(settings: Settings, service: str) -> None:
    """Send every log line to standard error. ``service`` stands on the lines of work that no service has in hand."""
    _configure(settings.log_level, settings.log_format, service)


def logging_elsewhere(settings: Settings, service: str) -> Callable[[], None]:
    """What a child process calls in order to log as this one does; it can be pickled."""
    return partial(_configure, settings.log_level, settings.log_format, service)


def _configure(level: LogLevel, form: LogFormat, service: str) -> None:
    show: Shown = as_json if form is LogFormat.JSON else console(colors=sys.stderr.isatty())
    line = LogLine(service, show)
    written = _Written(sys.stderr)
    root = logging.getLogger()
    root.setLevel(level.value)
    everything = root.level <= logging.DEBUG
    root.handlers[:] = [_Libraries(line, written, everything=everything)]
    for name in _OWN_HANDLERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger(_CHATTY_BUT_FOR_DEBUG).setLevel(root.level if everything else max(logging.WARNING, root.level))
    # Not by way of the standard library's logging, which makes a line cost three times as much.
    structlog.configure(
        processors=[line],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=lambda *_: written,
        cache_logger_on_first_use=False,
    )
    log_what_nobody_caught()


class _Written:
    """Lines on a stream, each whole. The end of structlog's chain, so it has a method for each level.

    What an event loop says in one turn is written when that ends, in one piece, unless it is a warning or worse: a
    write wakes whoever reads, and costs as much as the line.

    A thread may come here while it is here: the garbage collector runs wherever it likes, and asyncio logs a task whose
    failure nobody saw when it is collected. Such a line is written after the one that it came into.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._due: deque[str] = deque()
        self._writing = False
        self._promised: asyncio.AbstractEventLoop | None = None
        """The loop that will write what is due when its turn ends."""

    def gather(self, line: str) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write(line)
            return
        self._due.append(line)
        if self._promised is not loop:
            self._promised = loop
            loop.call_soon(self._turn_ended)

    def write(self, line: str) -> None:
        self._due.append(line)
        self.write_all()

    def write_all(self) -> None:
        with self._lock:
            if self._writing:
                return
            self._writing = True
            try:
                while self._due:
                    self._put([self._due.popleft() for _ in range(len(self._due))])
            finally:
                self._writing = False

    def _turn_ended(self) -> None:
        self._promised = None
        self.write_all()

    def _put(self, lines: Sequence[str]) -> None:
        try:
            self._stream.write("\n".join((*lines, "")))
            self._stream.flush()
        except (OSError, ValueError):
            # Full, closed or gone: there is nobody to be told, and no work may fail because its line was not written.
            return

    debug = info = gather
    warning = error = critical = write


class _Libraries(logging.Handler):
    """The standard library's records, as lines like all others, with the name of their logger; those that only repeat
    what we say ourselves if ``everything`` is wanted."""

    def __init__(self, line: LogLine, written: _Written, *, everything: bool) -> None:
        super().__init__()
        self._everything = everything
        self._line = line
        self._written = written

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the handler's lock: what is written has its own, and a thread with that one may come here."""
        self.emit(record)
        return True

    def flush(self) -> None:
        """Called when the process ends, too: a loop that ends within a turn has no end of that turn."""
        self._written.write_all()

    def emit(self, record: logging.LogRecord) -> None:
        if not self._everything and only_repeats(record):
            return
        line = self._line(None, record.levelname.lower(), _event_of(record))
        (self._written.write if record.levelno >= logging.WARNING else self._written.gather)(line)


def _event_of(record: logging.LogRecord) -> dict[str, Any]:
    more = {name: value for name, value in record.__dict__.items() if name not in _OF_EVERY_RECORD}
    more.pop(_ONLY_FOR_CONSOLES, None)
    event = {**more, "event": _text_of(record), "logger": record.name}
    if record.exc_info:
        event["exc_info"] = record.exc_info
    elif record.exc_text:
        event["exception"] = record.exc_text
    if record.stack_info:
        event["stack"] = record.stack_info
    return event


def _text_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # arguments that do not fit the text, or have no words, must not cost the line
        return f"{record.msg!s} (its arguments do not fit: {type(error).__name__}: {error})"
