"""One process: the services it runs, from start to a clean end on SIGTERM or SIGINT."""

import asyncio
import gc
import importlib
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, cast

import structlog
import uvloop

from services.runtime.bus.base import Bus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.logs import configure_logging
from services.runtime.settings import Protocol as BusProtocol
from services.runtime.settings import Settings

log = structlog.get_logger(__name__)


class Runnable(Protocol):
    """What a service's ``build`` gives: a Service, or for the edge an HTTP server with one inside."""

    name: str

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Application(Protocol):
    """A service's ``app`` module."""

    def build(self, settings: Settings, bus: Bus) -> Runnable: ...


def run_services(names: Sequence[str], settings: Settings) -> int:
    """Run services until a signal comes; returns the process's exit code."""
    return run_process(names[0] if len(names) == 1 else "conclave", settings, lambda: build_services(names, settings))


def run_process(name: str, settings: Settings, build: Callable[[], Sequence[Runnable]]) -> int:
    """Run what ``build`` makes until a signal comes; returns the process's exit code."""
    configure_logging(settings, name)
    try:
        uvloop.run(_run(settings, build))
    except KeyboardInterrupt:
        return 130
    return 0


def build_services(names: Sequence[str], settings: Settings) -> list[Runnable]:
    """The services, each with a bus of its own; over ``direct`` they share the broker in this process."""
    broker = DirectBroker() if settings.communication_protocol is BusProtocol.DIRECT else None
    modules = [cast(Application, importlib.import_module(f"services.{name}.app")) for name in names]
    return [module.build(settings, open_bus(settings, broker)) for module in modules]


async def _run(settings: Settings, build: Callable[[], Sequence[Runnable]]) -> None:
    loop = asyncio.get_running_loop()
    # Capabilities run in worker threads: as many as may run side by side, and a few for everything else.
    loop.set_default_executor(ThreadPoolExecutor(settings.agent_concurrency + 8, thread_name_prefix="work"))
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    running = build()
    started = asyncio.create_task(_start_all(running))
    stopped = asyncio.create_task(stopping.wait())
    # A broker that is away is waited for; a signal must end that wait too.
    await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
    failed = started.done() and started.exception() is not None
    if not failed:
        collect_rarely()
        await stopped
        log.info("stopping", services=[service.name for service in running])
    started.cancel()
    await asyncio.wait({started})
    for outcome in await asyncio.gather(*(service.stop() for service in reversed(running)), return_exceptions=True):
        if isinstance(outcome, BaseException):
            log.error("service did not stop cleanly", exc_info=outcome)
    stopped.cancel()
    if failed:
        await started


def collect_rarely() -> None:
    """Garbage collection for a process that makes many small lasting objects and hardly any cycles. By default a
    collection comes every 700 allocations and walks every module's objects again and again: a quarter of the
    orchestrator's time (docs/performance.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _start_all(services: Sequence[Runnable]) -> None:
    async with asyncio.TaskGroup() as starting:
        for service in services:
            starting.create_task(service.start())
