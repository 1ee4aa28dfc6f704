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

from services.runtime.bus.base import Bus, BusError
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.correlation import holding
from services.runtime.logs import configure_logging
from services.runtime.settings import BadSettings, Settings
from services.runtime.settings import Protocol as BusProtocol
from services.runtime.telemetry.operations import Observed, Operations
from services.runtime.telemetry.telemetry import Telemetry, open_telemetry

log = structlog.get_logger(__name__)

LAST_MOMENTS = 5.0  # seconds that a process has beyond SHUTDOWN_TIMEOUT, to tell the broker and disconnect


class Runnable(Protocol):
    """What a service's ``build`` gives: a Service, or for the edge an HTTP server with one inside."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Application(Protocol):
    """A service's ``app`` module."""

    def build(self, settings: Settings, bus: Bus, *, telemetry: Telemetry) -> Runnable: ...


def run_services(names: Sequence[str], settings: Settings) -> int:
    """Run services until a signal comes; returns the process's exit code."""
    name = names[0] if len(names) == 1 else "conclave"
    return run_process(name, settings, lambda telemetry: build_services(names, settings, telemetry))


def run_process(name: str, settings: Settings, build: Callable[[Telemetry], Sequence[Runnable]]) -> int:
    """Run what ``build`` makes until a signal comes; returns the process's exit code, 2 where the settings name keys or
    other files that are missing or cannot be used."""
    configure_logging(settings, name)
    try:
        uvloop.run(_run(name, settings, build))
    except BadSettings as error:
        log.critical("the process cannot run", error=str(error))
        return 2
    except BusError as error:  # the broker is there, and refuses this service
        log.critical("the process cannot run", error=str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build_services(names: Sequence[str], settings: Settings, telemetry: Telemetry) -> list[Runnable]:
    """The services, each with a bus of its own; over ``direct`` they share the broker in this process."""
    broker = DirectBroker() if settings.communication_protocol is BusProtocol.DIRECT else None
    modules = [cast(Application, importlib.import_module(f"services.{name}.app")) for name in names]
    services = []
    for name, module in zip(names, modules, strict=True):
        with holding(service=name):
            bus = open_bus(settings, name, broker, telemetry)
            services.append(module.build(settings, bus, telemetry=telemetry))
    return services


async def _run(name: str, settings: Settings, build: Callable[[Telemetry], Sequence[Runnable]]) -> None:
    loop = asyncio.get_running_loop()
    # Capabilities run in worker threads: as many as may run side by side, and a few for everything else.
    loop.set_default_executor(ThreadPoolExecutor(settings.agent_concurrency + 8, thread_name_prefix="work"))
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    telemetry = open_telemetry(settings, name)
    running = build(telemetry)
    operations = Operations(settings, telemetry, [one for one in running if isinstance(one, Observed)])
    await operations.start()
    started = asyncio.create_task(_start_all(running))
    stopped = asyncio.create_task(stopping.wait())
    # A broker that is away is waited for; a signal must end that wait too.
    await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
    failed = started.done() and started.exception() is not None
    if not failed:
        collect_rarely()
        await stopped
        log.info("stopping", services=[service.name for service in running], delay=settings.shutdown_delay)
        await operations.end()
    started.cancel()
    await asyncio.wait({started})
    await _stop_all(running, settings.shutdown_timeout + LAST_MOMENTS)
    await operations.stop()
    stopped.cancel()
    if failed:
        try:
            await started
        except BaseExceptionGroup as group:
            if (refused := group.subgroup(BusError)) is not None:
                raise _first(refused) from None
            raise


def _first(group: BaseExceptionGroup[BusError]) -> BusError:
    """One of them: services of one process are refused for one reason."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def collect_rarely() -> None:
    """Garbage collection for a process that makes many small lasting objects and hardly any cycles. By default a
    collection comes every 700 allocations and walks every module's objects again and again: a quarter of the
    orchestrator's time (docs/performance.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _stop_all(services: Sequence[Runnable], patience: float) -> None:
    """Parts of a service wait for one another's work, each for as long as it may take. Together they have ``patience``
    seconds; what is in hand then goes back to the broker."""
    names = {asyncio.create_task(service.stop(), name="stop"): service.name for service in reversed(services)}
    _, late = await asyncio.wait(names, timeout=patience)
    for task in late:
        log.error("service did not end in time, what it has in hand goes back", ended=names[task])
        task.cancel()
    for name, outcome in zip(names.values(), await asyncio.gather(*names, return_exceptions=True), strict=True):
        if isinstance(outcome, Exception):
            log.error("service did not stop cleanly", ended=name, exc_info=outcome)


async def _start_all(services: Sequence[Runnable]) -> None:
    async with asyncio.TaskGroup() as starting:
        for service in services:
            starting.create_task(service.start())
