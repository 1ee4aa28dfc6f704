"""One run, from empty servers to the records of it."""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.faults.broker import Publisher, unless_lost
from benchmarks.faults.collect import (
    direct_store,
    ended_of,
    queue_depths,
    record_broker,
    record_store,
    wait_for_store,
)
from benchmarks.faults.copies import Copier
from benchmarks.faults.injector import Injector
from benchmarks.faults.ledger import Ledger
from benchmarks.faults.listener import Listener
from benchmarks.faults.load import Load
from benchmarks.faults.records import Recorder
from benchmarks.faults.schedule import Fault, schedule
from benchmarks.faults.system import System
from services.runtime.store.base import Store, StoreUnavailable

SAY_EVERY = 10.0
LOOK_EVERY = 5.0  # seconds between looks at the store for ends that were not told
QUEUES_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Options:
    """``minutes`` of load and faults, with ``executions`` in flight; ``patience`` seconds for everything to end."""

    minutes: float
    seed: int
    store: str = "mongodb"
    executions: int = 1_000
    every: float = 2.5
    patience: float = 900.0


class Run:
    """Use ``run`` once. ``say`` is given lines for whoever watches."""

    def __init__(self, options: Options, folder: Path, recorder: Recorder, say: Callable[[str], None]) -> None:
        self._options = options
        self._folder = folder
        self._recorder = recorder
        self._say = say
        self._accepted: list[str] = []
        self._began = 0.0

    async def run(self) -> None:
        """Everything: start, load and faults, the end of both, and what is then to be read.

        Raises:
            NotReady, ServerFailed, ServerNotAvailable: the system could not be brought up.
        """
        add = self._recorder.add
        async with AsyncExitStack() as stack:
            # A socket's path is short, whatever the folder's is.
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
            ledger = await stack.enter_async_context(Ledger(place / "ledger", lambda row: add("ledger", row)))
            system = await stack.enter_async_context(System(self._options.store, self._folder, ledger.path))
            await system.start(self._options.seed)
            store = direct_store(system.store_url)
            await store.start()
            stack.push_async_callback(store.stop)
            publisher = await stack.enter_async_context(Publisher(system.broker_url))
            load = Load(
                self._options.seed,
                self._options.executions,
                system.url,
                system.access.headers,
                publisher,
                self._accept,
                lambda row: add("starts", row),
            )
            await stack.enter_async_context(Listener(system.broker_url, lambda row: add("events", row), load.end))
            await self._under_faults(system, store, publisher, load)
            await self._settle(system)
            await self._record(system, store, load)

    def _accept(self, row: dict[str, object]) -> None:
        self._accepted.append(str(row["execution_id"]))
        self._recorder.add("executions", row)

    def _planned(self, system: System) -> list[Fault]:
        options = self._options
        faults = schedule(
            options.seed,
            options.minutes * 60,
            sorted(system.services),
            sorted(system.servers),
            sorted(system.links),
            options.every,
        )
        self._recorder.add("schedule", *(fault.as_row() for fault in faults))
        for fault in faults:
            self._say(str(fault))
        return faults

    async def _under_faults(self, system: System, store: Store, publisher: Publisher, load: Load) -> None:
        add, options = self._recorder.add, self._options
        faults = self._planned(system)
        self._began = time.monotonic()
        rng = random.Random(f"{options.seed}/copies")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(load)
            copier = Copier(system.broker_url, publisher, rng, lambda row: add("copies", row))
            await stack.enter_async_context(copier)
            injector = Injector(system, load, copier, lambda row: add("faults", row), lambda row: add("services", row))
            aside = [
                asyncio.create_task(injector.watch()),
                asyncio.create_task(self._report(load, injector)),
                asyncio.create_task(_look(store, load)),
            ]
            for task in aside:
                stack.callback(task.cancel)
            await injector.run(faults)
            await asyncio.sleep(max(0.0, self._began + options.minutes * 60 - time.monotonic()))
            self._say(f"{self._seconds():7.1f} s  faults are over; everything is started again")
            await system.mend()
            await load.enough(options.patience)
            # The services are watched for until everything has ended.
            if not await load.all_ended(options.patience):
                self._say(f"{self._seconds():7.1f} s  {len(load.open)} never ended, e.g. {sorted(load.open)[0]}")

    async def _settle(self, system: System) -> None:
        """Let late duplicates be dealt with: nothing is waited for that is not in a queue."""
        deadline = time.monotonic() + QUEUES_PATIENCE
        while time.monotonic() < deadline:
            await asyncio.sleep(1)
            if not await _left(system.broker_url):
                break
        for name, code in (await system.stop()).items():
            if code != 0:
                how = "hung" if code is None else f"ended with {code}"
                self._recorder.add("services", {"name": name, "what": "not stopped in good order", "detail": how})

    async def _record(self, system: System, store: Store, load: Load) -> None:
        await wait_for_store(store, 60)
        await record_store(store, self._accepted, self._recorder)
        await record_broker(system.broker_url, self._recorder)
        self._recorder.add(
            "run", {**asdict(self._options), "seconds": round(self._seconds(), 1), "answers": dict(load.answers)}
        )

    async def _report(self, load: Load, injector: Injector) -> None:
        while True:
            await asyncio.sleep(SAY_EVERY)
            faults = ", ".join(f"{kind} {count}" for kind, count in sorted(injector.done.items()))
            self._say(
                f"{self._seconds():7.1f} s  started {load.started}, ended {load.ended}, open {len(load.open)};"
                f" faults: {faults or 'none'}"
            )

    def _seconds(self) -> float:
        return time.monotonic() - self._began


async def _look(store: Store, load: Load) -> None:
    """Ends whose event did not come: the load goes on, and the checker finds the event missing."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            for execution_id in await ended_of(store, list(load.open)):
                load.end(execution_id)
        except StoreUnavailable:
            continue


async def _left(url: str) -> list[str]:
    """Queues that are not empty yet."""
    with unless_lost():
        return [name for name, messages in (await queue_depths(url)).items() if messages]
    return ["unknown"]
