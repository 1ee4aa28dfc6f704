"""Services as processes run them, each with reports and an operations port of its own, and a monitor that is quick."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from contracts import topology
from contracts.envelope import Message, new_id
from contracts.execution import StartExecution
from contracts.monitoring import DescribeMonitoring, ViewName
from contracts.monitoring_health import HealthView, Problem
from contracts.monitoring_views import MonitoringDescribed
from contracts.topology import Queue
from services.access.app import build as build_access
from services.auditor.app import build as build_auditor
from services.dead_letters.app import build as build_dead_letters
from services.monitor.app import build as build_monitor
from services.monitor.pace import Pace
from services.monitor.service_health import EXPECTED
from services.orchestrator.app import build as build_orchestrator
from services.registry.app import build as build_registry
from services.runtime.agent import BaseAgent, CapabilityError, capability
from services.runtime.bus.base import Bus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.open import open_bus
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.host import agent_service
from services.runtime.requests import Requests
from services.runtime.service import Service
from services.runtime.settings import Protocol, Settings
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.memory_store import MemoryStore

PATIENCE = 30.0
QUICK = Pace(
    look=0.1,
    patience=0.3,
    settled_after=1.0,
    overdue_after=0.5,
    stuck_after=0.5,
    recent=30.0,
    usual=600.0,
    long_wait=5.0,
)

Build = Callable[[Settings, Bus, MemoryStore, Telemetry], Service]


class Load(BaseModel):
    """What is carried."""

    weight: float = 1.0


class Porter(BaseAgent):
    """Carries, unless it is told that its back aches."""

    agent_type = "porter"
    aching: dict[str, bool]

    @capability("carry")
    async def carry(self, load: Load) -> Load:
        if self.aching["back"]:
            raise CapabilityError("it aches", code="BackAches")
        return load


@dataclass
class Member:
    """A process, as far as others can tell."""

    service: Service
    operations: Operations
    telemetry: Telemetry


def _porters(aching: dict[str, bool]) -> Build:
    porter = type("Porter", (Porter,), {"aching": aching})

    def build(settings: Settings, bus: Bus, store: MemoryStore, telemetry: Telemetry) -> Service:
        return agent_service(porter, settings, bus, telemetry=telemetry)

    return build


class Monitored:
    """A system on one broker with one store. ``url``: of RabbitMQ; without, the broker is in this process."""

    def __init__(self, url: str = "", **settings: Any) -> None:
        values = {
            "agent_heartbeat": 0.2,
            "report_interval": 0.2,
            "metrics_port": 0,
            "shutdown_timeout": 5.0,
            **settings,
        }
        if url:
            values |= {"communication_protocol": Protocol.RABBITMQ, "rabbitmq_url": url}
        else:
            values |= {"communication_protocol": Protocol.DIRECT}
        self.settings = Settings(**values)
        self.store = MemoryStore()
        self.aching = {"back": False}
        self.members: dict[str, list[Member]] = {}
        self._broker = None if url else DirectBroker()
        self._builds: dict[str, Build] = {
            "orchestrator": lambda s, bus, store, t: build_orchestrator(s, bus, store, telemetry=t),
            "registry": lambda s, bus, store, t: build_registry(s, bus, store, telemetry=t),
            "dead_letters": lambda s, bus, store, t: build_dead_letters(s, bus, store, telemetry=t),
            "access": lambda s, bus, store, t: build_access(s, bus, store, telemetry=t),
            "auditor": lambda s, bus, store, t: build_auditor(s, bus, store, telemetry=t),
            "porter": _porters(self.aching),
        }
        self._bus = open_bus(self.settings, "test-client", self._broker)
        self._requests = Requests(self._bus, "test-client")

    @staticmethod
    def queues() -> list[Queue]:
        """Those that outlive the services."""
        of_services = [queue for expected in EXPECTED.values() for queue in expected.queues]
        porters = [topology.agent_type_queue("porter"), topology.agent_quarantine_queue("porter")]
        return [*of_services, topology.unstorable_letters(), *porters]

    async def start(self, monitors: int = 1) -> None:
        """Everything, with one host, and last of all the monitors."""
        await self._bus.start()
        for name in self._builds:
            await self.run(name)
        for _ in range(monitors):
            await self.monitor()
        await self.until(lambda: self._has_type("porter"))

    async def end(self) -> None:
        await self._requests.stop()
        for member in [one for those in self.members.values() for one in those]:
            await member.service.stop()
            await member.operations.stop()
        await self._bus.close()

    async def run(self, name: str, **settings: Any) -> Member:
        """One more process of that service."""
        return await self._run(name, self._builds[name], self.settings.model_copy(update=settings))

    async def monitor(self, **pace: float) -> Member:
        def build(settings: Settings, bus: Bus, store: MemoryStore, telemetry: Telemetry) -> Service:
            return build_monitor(settings, bus, store, telemetry=telemetry, pace=replace(QUICK, **pace))

        return await self._run("monitor", build, self.settings)

    async def stop(self, name: str) -> None:
        """As SIGTERM does it."""
        member = self.members[name].pop(0)
        await member.operations.end()
        await member.service.stop()
        await member.operations.stop()

    async def kill(self, name: str) -> None:
        """As kill -9 does it, as far as others can tell: its connection is gone, and nothing was said before."""
        member = self.members[name].pop(0)
        await member.service.bus.close()
        await member.service.stop()
        await member.operations.stop()

    async def _run(self, name: str, build: Build, settings: Settings) -> Member:
        telemetry = Telemetry()
        service = build(settings, open_bus(settings, name, self._broker, telemetry), self.store, telemetry)
        member = Member(service, Operations(settings, telemetry, [service]), telemetry)
        self.members.setdefault(name, []).append(member)
        await member.operations.start()
        await service.start()
        return member

    async def _has_type(self, agent_type: str) -> bool:
        return await self.store.get_agent(agent_type) is not None

    # ---- what is asked

    async def ask(self, message: Message) -> Message:
        return await self._requests.ask(Outgoing(message), PATIENCE)

    async def view(self, name: str, window: int | None = None) -> Any:
        answer = await self.ask(DescribeMonitoring(view=ViewName(name), window=window))
        assert isinstance(answer, MonitoringDescribed), answer
        return getattr(answer, name)

    async def health(self) -> HealthView:
        view = await self.view("health")
        assert isinstance(view, HealthView)
        return view

    async def problem(self, code: str, subject: str) -> Problem:
        """Wait for a problem."""

        async def found() -> Problem | None:
            problems = (await self.health()).problems
            return next((one for one in problems if (one.code, one.subject) == (code, subject)), None)

        problem = await self.until(found, lambda: f"no {code} of {subject}")
        assert isinstance(problem, Problem)
        return problem

    async def all_well(self) -> HealthView:
        """Wait until there is no problem, and the monitor has heard enough to say so: of every process, too, for one
        that it never heard of cannot be missed."""
        last: list[HealthView] = []

        async def well() -> HealthView | None:
            last[:] = [await self.health()]
            # Ready, too: the first that a process says may be that it is only starting.
            heard = {one.service: sum(it.ready and not it.silent for it in one.instances) for one in last[0].services}
            all_heard = all(heard.get(name, 0) >= len(members) for name, members in self.members.items())
            return last[0] if last[0].settled and not last[0].problems and all_heard else None

        view = await self.until(well, lambda: f"{last}")
        assert isinstance(view, HealthView)
        return view

    async def until(self, question: Callable[[], Awaitable[Any]], otherwise: Callable[[], str] = str) -> Any:
        """Ask until the answer is true, and return it."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (answer := await question()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it did not come about within {PATIENCE:g} s. {otherwise()}") from None
        return answer

    async def gauges(self, member: Member) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
        """What Prometheus would scrape: value by name and sorted labels."""
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(f"http://127.0.0.1:{member.operations.port}/metrics")
        assert answer.status_code == 200
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    # ---- work

    def errand(self, name: str = "errand", **step: Any) -> StartExecution:
        """One step of a porter."""
        definition = {"name": name, "steps": [{"id": "go", "agent_type": "porter", "action": "carry", **step}]}
        return StartExecution(execution_id=f"exec-{new_id()}", definition=definition)

    async def begin(self, name: str = "errand", **step: Any) -> str:
        """Start one; its id."""
        message = self.errand(name, **step)
        await self.ask(message)
        return message.execution_id

    async def ended(self, execution_id: str) -> str:
        async def status() -> str:
            header = (await self.store.read_headers([execution_id])).get(execution_id)
            return header.status.value if header is not None and header.status.ended else ""

        return str(await self.until(status))

    async def run_errands(self, count: int, name: str = "errand") -> list[str]:
        """How each of them ended."""
        ids = [await self.begin(name) for _ in range(count)]
        return [await self.ended(execution_id) for execution_id in ids]
