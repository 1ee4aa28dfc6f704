"""One process of a benchmark: ``python -m benchmarks.serve NAME ...``

NAME is a service (``orchestrator``, ``registry``, ``edge``), ``echo`` (the agent) or ``driver`` (the client). They are
built as ``python -m services`` builds them, with counters around their bus and store, and do as standard input says
(see :mod:`benchmarks.control`). Over ``direct``, all of them run in one process.
"""

import asyncio
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.control import Control, Operation
from benchmarks.counting import Counts
from benchmarks.definitions import AGENT_TYPE
from benchmarks.driver import NAME as DRIVER
from benchmarks.driver import SENDER, Driver
from benchmarks.echo_agent import EchoAgent
from benchmarks.rounds import Workload
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.hosting.host import agent_service
from services.runtime.process import Runnable, run_process
from services.runtime.settings import Protocol, Settings, load_settings
from services.runtime.store.open import open_store
from services.runtime.telemetry.telemetry import Telemetry

ECHO = "echo"
KEYS = {ECHO: AGENT_TYPE, DRIVER: SENDER}  # whose message keys they have, where it is not their own name's


def build(names: Sequence[str], settings: Settings, telemetry: Telemetry) -> list[Runnable]:
    counts = Counts()
    broker = DirectBroker() if settings.communication_protocol is Protocol.DIRECT else None

    async def totals() -> dict[str, dict[str, int]]:
        return counts.totals()

    operations: dict[str, Operation] = {"counts": totals}
    runnables: list[Runnable] = []
    for name in names:
        bus = counts.bus(open_bus(settings, KEYS.get(name, name), broker, telemetry))
        if name == ECHO:
            runnables.append(agent_service(EchoAgent, settings, bus, telemetry=telemetry))
        elif name == DRIVER:
            driver = Driver(bus, lambda: open_store(settings))
            operations |= _orders(driver)
            runnables.append(driver)
        else:
            app: Any = importlib.import_module(f"services.{name}.app")
            runnables.append(app.build(settings, bus, counts.store(open_store(settings)), telemetry=telemetry))
    return [*runnables, Control(operations)]


def _orders(driver: Driver) -> dict[str, Operation]:
    async def run(workload: dict[str, Any]) -> dict[str, Any]:
        return await driver.run(Workload(**workload))

    async def prepare(workload: dict[str, Any]) -> str:
        return await driver.prepare(Workload(**workload))

    async def watch(workload: dict[str, Any]) -> dict[str, str]:
        return await driver.watch(Workload(**workload))

    async def settle() -> None:
        """Let the services finish what follows the last end: acks, and what a commit still writes."""
        await asyncio.sleep(0.2)

    return {
        "ready": driver.ready,
        "prepare": prepare,
        "run": run,
        "watch": watch,
        "watched": driver.watched,
        "check": driver.check,
        "settle": settle,
    }


def main(names: Sequence[str]) -> int:
    if not names:
        print(__doc__, file=sys.stderr)
        return 2
    settings = load_settings()
    return run_process("+".join(names), settings, lambda telemetry: build(names, settings, telemetry))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
