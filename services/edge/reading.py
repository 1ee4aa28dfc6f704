"""Reads from the store, none of which may keep a client waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Query

from services.runtime.store.base import StoreUnavailable

STORE_SECONDS = 1.5

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
After = Annotated[str | None, Query(description="The `next` of the page before.")]


@asynccontextmanager
async def reading(seconds: float = STORE_SECONDS) -> AsyncIterator[None]:
    """All the reads of one answer.

    Raises:
        StoreUnavailable: they took longer than ``seconds``, or the store says so itself.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise StoreUnavailable(f"no answer from the store within {seconds:g} s") from None
