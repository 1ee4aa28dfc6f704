"""Does to the system what the schedule says."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.faults import servers
from benchmarks.faults.copies import Copier
from benchmarks.faults.load import Load
from benchmarks.faults.processes import ServiceProcess
from benchmarks.faults.proxy import WAYS, Proxy
from benchmarks.faults.schedule import Fault
from benchmarks.faults.shapes import AGENT_TYPE
from benchmarks.faults.system import System
from scripts.server_processes import LocalServer

WATCH_EVERY = 0.5


class Injector:
    """Runs the schedule; ``note_fault`` is given a row for each fault done, ``note_service`` one for each process that
    ended by itself (it is started again) or not in good order."""

    def __init__(
        self,
        system: System,
        load: Load,
        copier: Copier,
        note_fault: Callable[[dict[str, Any]], None],
        note_service: Callable[[dict[str, Any]], None],
    ) -> None:
        self.done: Counter[str] = Counter()
        self._system = system
        self._load = load
        self._copier = copier
        self._note_fault = note_fault
        self._note_service = note_service
        self._targets = {name: asyncio.Lock() for name in (*system.services, *system.servers, *system.links)}

    async def run(self, faults: Sequence[Fault]) -> None:
        """Do every fault at its time, one beside the other; returns when the last has passed.

        Raises:
            ServerFailed: a server did not start again.
        """
        begin = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for fault in faults:
                    await asyncio.sleep(max(0.0, begin + fault.at - time.monotonic()))
                    group.create_task(self._do(fault, begin))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def watch(self) -> None:
        """Start services again that ended by themselves, as a supervisor does. Ends by cancellation."""
        while True:
            for service in self._system.services.values():
                if service.wanted and (code := service.ended_with) is not None:
                    self._note_service({"name": service.name, "what": "ended by itself", "detail": f"exit code {code}"})
                    service.kill()
                    service.start()
            await asyncio.sleep(WATCH_EVERY)

    async def _do(self, fault: Fault, begin: float) -> None:
        began = time.monotonic() - begin
        system = self._system
        if fault.target in system.services:
            async with self._targets[fault.target]:
                await self._to_service(fault, system.services[fault.target])
        elif fault.target in system.servers:
            async with self._targets[fault.target]:
                await _to_server(fault, system.servers[fault.target])
        elif fault.target in system.links:
            async with self._targets[fault.target]:
                await _to_link(fault, system.links[fault.target])
        else:
            await self._to_system(fault)
        self.done[fault.kind] += 1
        self._note_fault({**fault.as_row(), "began": round(began, 2), "ended": round(time.monotonic() - begin, 2)})

    async def _to_service(self, fault: Fault, service: ServiceProcess) -> None:
        match fault.kind:
            case "kill":
                service.kill()
                await asyncio.sleep(fault.seconds)
                service.start()
            case "pause":
                service.pause()
                await asyncio.sleep(fault.seconds)
                service.resume()
            case "restart":
                code = await service.stop()
                if code != 0:
                    how = "hung" if code is None else f"ended with {code}"
                    self._note_service({"name": service.name, "what": "not stopped in good order", "detail": how})
                service.start()

    async def _to_system(self, fault: Fault) -> None:
        match fault.kind:
            case "burst":
                await self._load.burst(int(fault.amount))
            case "copies":
                await self._copier.burst(int(fault.amount))
            case "starve":
                hosts = [one for name, one in self._system.services.items() if name.startswith(AGENT_TYPE)]
                async with AsyncExitStack() as stack:
                    for host in hosts:
                        await stack.enter_async_context(self._targets[host.name])
                        host.pause()
                    await asyncio.sleep(fault.seconds)
                    for host in hosts:
                        host.resume()


async def _to_server(fault: Fault, server: LocalServer) -> None:
    match fault.kind:
        case "kill":
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(server.start)
        case "pause":
            servers.pause(server)
            await asyncio.sleep(fault.seconds)
            servers.resume(server)
        case "restart":
            await asyncio.to_thread(server.restart)


async def _to_link(fault: Fault, link: Proxy) -> None:
    match fault.kind:
        case "drop":
            link.cut()
        case "refuse":
            link.refusing = True
            link.cut()
        case "delay":
            link.delay = fault.amount
        case "stall":
            link.hold()
        case "one_way":
            link.hold([WAYS[int(fault.amount) - 1]])
        case "throttle":
            link.rate = fault.amount
    await asyncio.sleep(fault.seconds)
    link.heal()
