"""Whether the services of a process are ready: started, not ending, connected, consuming, able to read the store."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from contracts.monitoring import CheckResult, ServiceState
from services.runtime.correlation import without_work
from services.runtime.masking import masked_text
from services.runtime.store.base import Store

Check = Callable[[], Awaitable[str]]
"""What is wrong with something that a service needs; an empty string if nothing is."""

ANSWER_TIMEOUT = 2.0  # seconds that a check may take
REMEMBERED = 1.0  # seconds for which an answer of the store holds: health is asked often, by many


class Checked(Protocol):
    """A service, as far as its health goes."""

    @property
    def name(self) -> str: ...

    async def checks(self) -> tuple[CheckResult, ...]: ...


class Health:
    """Of one process. ``ending`` is set by its first signal to end; from then on nothing in it is ready."""

    def __init__(self) -> None:
        self.ending = False
        self._watched: list[Checked] = []

    def watch(self, services: Iterable[Checked]) -> None:
        self._watched += services

    async def states(self) -> tuple[ServiceState, ...]:
        """How each service does."""
        return tuple(await asyncio.gather(*(self.state_of(service) for service in self._watched)))

    async def state_of(self, service: Checked) -> ServiceState:
        ending = (CheckResult(name="ending", fault="the process ends"),) if self.ending else ()
        return ServiceState(service=service.name, checks=(*ending, *await service.checks()))


async def checked(name: str, check: Check) -> CheckResult:
    """Ask a check, for a bounded time; one that raises has found its fault."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return CheckResult(name=name, fault=await check())
    except TimeoutError:
        return CheckResult(name=name, fault=f"no answer within {ANSWER_TIMEOUT:g} s")
    except Exception as error:
        return CheckResult(name=name, fault=masked_text(f"{type(error).__name__}: {error}"))


def store_answers(store: Store, clock: Callable[[], float] = time.monotonic) -> Check:
    """The check that a store can be read."""
    answered_at = -REMEMBERED
    asking: asyncio.Task[None] | None = None

    async def ask() -> None:
        nonlocal answered_at
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await store.ping()
        answered_at = clock()

    async def check() -> str:
        nonlocal asking
        if clock() - answered_at >= REMEMBERED:
            # Asked once for all who wait: a driver may have a thread for each question, and anybody may ask for health.
            if asking is None or asking.done():
                asking = asyncio.create_task(ask(), name="ask the store", context=without_work())
                asking.add_done_callback(_outcome_seen)
            await asyncio.wait({asking})
            asking.result()
        return ""

    return check


def _outcome_seen(asking: asyncio.Task[None]) -> None:
    """Whoever waited may have given up before it failed, which is no reason for asyncio to log it."""
    if not asking.cancelled():
        asking.exception()
