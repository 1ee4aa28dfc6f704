"""What a process would log, without being one: logging set up as a service does it, and put back afterwards."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import structlog

from services.runtime.logs import configure_logging
from services.runtime.settings import Settings


@contextmanager
def logging_to(stream: Any, log_format: str = "json", *, level: str = "INFO", service: str = "edge") -> Iterator[None]:
    """Within this block everything is logged to ``stream``, and so is what nobody catches."""
    root = logging.getLogger()
    logging_before, structlog_before = (root.handlers[:], root.level), structlog.get_config()
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)
    try:
        with mock.patch.object(sys, "stderr", stream):
            configure_logging(Settings(log_format=log_format, log_level=level), service)
            yield
    finally:
        for handler in root.handlers:
            handler.flush()
        root.handlers[:], root.level = logging_before
        structlog.configure(**structlog_before)
        sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks


@contextmanager
def captured_lines(*, level: str = "INFO", service: str = "edge") -> Iterator[list[dict[str, Any]]]:
    """The JSON lines of the block; there are none before its end."""
    stream = io.StringIO()
    lines: list[dict[str, Any]] = []
    with logging_to(stream, level=level, service=service):
        yield lines
    lines += [json.loads(line) for line in stream.getvalue().splitlines()]
