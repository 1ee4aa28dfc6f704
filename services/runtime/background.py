"""Background tasks that nobody awaits: one that fails must not fail in silence."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

from services.runtime.correlation import without_work

log = structlog.get_logger(__name__)


def in_background(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run ``work`` beside everything else. If it fails, the process is told to end: a service that goes on without
    one of its parts takes messages and never answers, and whoever supervises the process cannot see it. It belongs to
    the service that begins it, and to no request."""
    task = asyncio.create_task(work, name=name, context=without_work())
    task.add_done_callback(_ended)
    return task


async def stopped(task: asyncio.Task[None] | None) -> None:
    """Cancel a background task and wait for its end."""
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _ended(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    log.critical("a background task failed, the process ends", task=task.get_name(), exc_info=error)
    os.kill(os.getpid(), signal.SIGTERM)
