"""A system with contractors, jurors and toilers in it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.memory_store import MemoryStore
from tests.support.negotiators import SETTINGS, Contractor, Juror, Toiler, begin_anew, host, release
from tests.support.running import Running, running


@pytest.fixture
async def system() -> AsyncIterator[Running]:
    begin_anew()
    async with running(MemoryStore(), SETTINGS, [host(Contractor), host(Juror), host(Toiler)]) as system:
        yield system
        release()
