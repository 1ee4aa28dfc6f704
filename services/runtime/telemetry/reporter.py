"""A process's reports to the monitor: best effort, an event every few seconds."""

import asyncio
import contextlib
import os
import socket
import time

import structlog

from contracts.monitoring import ProcessReported
from services.runtime.bus.base import Bus, BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox
from services.runtime.telemetry.families import families_of
from services.runtime.telemetry.process_metrics import SystemWatch
from services.runtime.telemetry.telemetry import Telemetry
from services.runtime.version import own_version

log = structlog.get_logger(__name__)

LAST_WORD = 2.0  # seconds that the last report may take


class Reporter:
    """Reports while the process lives, in the name of one of its services; at once when it is told to end, and for the
    last time when its work has ended and the bus is about to be closed.

    Args:
        sender: the name that this service sends by.
        interval: seconds between two reports.
    """

    def __init__(self, bus: Bus, sender: str, telemetry: Telemetry, watch: SystemWatch, *, interval: float) -> None:
        self._bus = bus
        self._outbox = Outbox(bus, sender)
        self._telemetry = telemetry
        self._watch = watch
        self._interval = interval
        self._started_at = time.time()
        self._number = 0
        self._stopping = False
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="reporter")

    def say_that_it_ends(self) -> None:
        self._stopping = True
        self._asked.set()

    async def stop(self) -> None:
        """Say for the last time how things are; again, it does nothing."""
        self._stopping = True
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        try:
            async with asyncio.timeout(LAST_WORD):
                await self._report()
        except (BusError, TimeoutError) as error:
            log.debug("the monitor was not told that this process ends", error=str(error))
        except Exception:  # the services are still to be stopped in good order
            log.exception("report failed")

    async def _run(self) -> None:
        while True:
            self._asked.clear()  # first: what is asked for while one is on its way is the next
            try:
                await self._report()
            except BusError as error:
                log.debug("report put off", error=str(error))
            except Exception:
                log.exception("report failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):  # `wait_for` may swallow a cancellation
                    await self._asked.wait()

    async def _report(self) -> None:
        if self._bus.connected:
            await self._outbox.send([Outgoing(await self._now())])

    async def _now(self) -> ProcessReported:
        self._number += 1
        return ProcessReported(
            instance=self._telemetry.instance,
            number=self._number,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=own_version(),
            started_at=self._started_at,
            at=time.time(),
            interval=self._interval,
            stopping=self._stopping,
            services=await self._telemetry.health.states(),
            system=self._watch.figures(),
            metrics=families_of(self._telemetry.registry),
        )
