"""What each layer costs by itself: ``python -m benchmarks.layers``

Processor time of this process, the least of several rounds, in microseconds: for a step in the orchestrator (bytes in,
decide, encode, bytes out) and in an agent's host, without broker and store; for a message over RabbitMQ; for a log
entry to PostgreSQL. docs/performance.md adds them up.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvloop

from benchmarks.definitions import ACTION, AGENT_TYPE, definition
from benchmarks.echo_agent import EchoAgent
from benchmarks.rounds import CHAIN10, FAN50, SINGLE, WIDE, Workload
from benchmarks.sessions import servers_for
from contracts import topology
from contracts.envelope import Message, envelope_of, new_id
from contracts.execution import ExecutionCompleted, RunSteps, StartExecution, StepCommand, StepResult, StepResults
from contracts.history import Header, LogEntry
from contracts.topology import Queue
from contracts.workflow import WorkflowDefinition
from services.orchestrator.admission import Admission, Known
from services.orchestrator.affinity import Affinity
from services.orchestrator.committer import BATCH_LIMIT, Committer
from services.orchestrator.engine import Limits, Plan, execution_plan
from services.orchestrator.intake import Intake
from services.orchestrator.outgoing import BatchSizes
from services.orchestrator.states import States
from services.runtime.bus.base import Delivery, Frame, Receive
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.host import agent_service
from services.runtime.logs import configure_logging
from services.runtime.process import collect_rarely
from services.runtime.service import Outbox, Route, Service
from services.runtime.settings import LogLevel, Settings
from services.runtime.store import documents
from services.runtime.store.open import open_store

ROUNDS = 6
MESSAGES = 4_000


class Discarding:
    """A store that encodes what it is given, as any store must, and keeps nothing."""

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        for entry in entries:
            documents.entry_json(entry)
        return {entry.id for entry in entries}

    async def write_headers(self, headers: Sequence[Header]) -> None:
        for header in headers:
            documents.header_document(header)


class Looped:
    """A bus with nobody at the other end: what is published gathers, and is handed over by hand."""

    connected = True

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.receivers: dict[str, Receive] = {}

    def subscribe(self, queue: Queue, receive: Receive, **_: object) -> "Looped":
        self.receivers[queue.name] = receive
        return self

    async def publish(self, frames: Sequence[Frame]) -> None:
        self.frames += frames

    def taken(self) -> list[Frame]:
        frames, self.frames = self.frames, []
        return frames

    async def _nothing(self, *_: object) -> None:
        return None

    start = stop = declare = stop_consuming = close = _nothing


class Handed:
    """A delivery that nobody waits for."""

    queue, reply_to, routing_key, died_in, redeliveries = "q", "", "", "", 0

    def __init__(self, frame: Frame) -> None:
        self.body, self.type, self.message_id, self.correlation_id = frame.body, frame.type, frame.message_id, ""
        self.headers: dict[str, str] = {}

    async def ack(self) -> None:
        return None


class OnePlan:
    """The definitions: one, which is known."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def plan(self, _: str) -> Plan:
        return self._plan


async def orchestrator_layer(workload: Workload) -> float:
    """Microseconds a step: results decoded, applied, their entries and commands encoded."""
    bus: Any = Looped()
    anything: Any = Discarding()
    sizes, affinity = BatchSizes(), Affinity()
    sizes.observe(AGENT_TYPE, ACTION, 0.0001)
    plans: Any = OnePlan(execution_plan(WorkflowDefinition.model_validate(definition(workload)), Limits()))
    committer = Committer(anything, States(anything, plans), Outbox(bus, "o"), sizes=sizes, affinity=affinity)
    admission = Admission(anything, committer.mailbox, 1_000_000)
    intake = Intake(committer.mailbox, plans, plans, sizes, admission, Known(anything), affinity)
    route = Route(topology.orchestrator_commands(), intakes={StartExecution: intake.start, StepResults: intake.results})
    Service("orchestrator", bus, routes=[route])
    receive = bus.receivers[route.queue.name]
    spent, begun, ended = 0.0, 0, 0
    due: list[Message] = []
    while ended < workload.workflows:
        while begun - ended < workload.in_flight and begun < workload.workflows:
            begun += 1
            inputs = {"payload": "x" * workload.payload}
            due.append(StartExecution(execution_id=new_id(), workflow_id="w", inputs=inputs))
        await Outbox(bus, "d").send(Outgoing(one) for one in due)
        deliveries = [Handed(frame) for frame in bus.taken()]
        before = time.process_time()
        for delivery in deliveries:
            await receive(delivery)
        while len(committer.mailbox):
            await committer.commit(committer.mailbox.take(BATCH_LIMIT))
        spent += time.process_time() - before
        frames = bus.taken()
        due = list(_answers(frames))
        ended += sum(frame.type == ExecutionCompleted.TYPE for frame in frames)
    return spent / workload.total_steps * 1e6


def _answers(frames: Sequence[Frame]) -> list[StepResults]:
    results: defaultdict[str, list[StepResult]] = defaultdict(list)
    for frame in frames:
        if frame.type == RunSteps.TYPE:
            for command in envelope_of(RunSteps).model_validate_json(frame.body).payload.commands:
                results[command.reply_key].append(_done(command))
    return [
        StepResults(reply_key=key, agent_type=AGENT_TYPE, action=ACTION, results=tuple(some[i : i + 50]))
        for key, some in results.items()
        for i in range(0, len(some), 50)
    ]


def _done(command: StepCommand) -> StepResult:
    return StepResult(
        result_id=new_id(),
        execution_id=command.execution_id,
        step=command.step,
        attempt=command.attempt,
        ok=True,
        output=command.inputs,
        started_at=0.0,
        finished_at=0.0001,
    )


async def agent_layer(batch: int) -> float:
    """Microseconds a step in the host, by messages of ``batch`` commands."""
    bus: Any = Looped()
    service = agent_service(EchoAgent, Settings(), bus)
    await service.start()
    commands = tuple(
        StepCommand(
            execution_id=f"e{i}", step="s", attempt=1, inputs={"payload": "x" * 100}, timeout=30, reply_key="shard.0"
        )
        for i in range(batch)
    )
    await Outbox(bus, "o").send([Outgoing(RunSteps(agent_type=AGENT_TYPE, action=ACTION, commands=commands))])
    (frame,) = [frame for frame in bus.taken() if frame.type == RunSteps.TYPE]
    count = max(1, MESSAGES // batch)
    before = time.process_time()
    for _ in range(count):
        bus.taken()
        await bus.receivers[AGENT_TYPE](Handed(frame))
        while sum(answer.body.count(b'"result_id"') for answer in bus.frames) < batch:  # noqa: ASYNC110
            await asyncio.sleep(0)
    spent = time.process_time() - before
    await service.stop()
    return spent / (count * batch) * 1e6


async def bus_layer(url: str) -> tuple[float, float]:
    """Microseconds for a message published and confirmed, and for one consumed and acked, by messages of 500 bytes."""
    bus = RabbitBus(url)
    queue = Queue("benchmarks.layers", (topology.event("benchmarks.layers"),))
    arrived = asyncio.Semaphore(0)

    async def receive(delivery: Delivery) -> None:
        await delivery.ack()
        arrived.release()

    await bus.start()
    await bus.declare(queue)
    frames = [Frame(topology.event("benchmarks.layers"), b"x" * 500, "layer.v1", str(i)) for i in range(100)]
    before = time.process_time()
    for _ in range(MESSAGES // 100):
        await bus.publish(frames)
    published = time.process_time()
    subscription = bus.subscribe(queue, receive, prefetch=200)
    await subscription.start()
    for _ in range(MESSAGES):
        await arrived.acquire()
    consumed = time.process_time()
    await subscription.stop()
    await bus.close()
    return (published - before) / MESSAGES * 1e6, (consumed - published) / MESSAGES * 1e6


async def store_layer(url: str, entries: int) -> float:
    """Microseconds for a log entry, appended in batches of ``entries``."""
    store = open_store(Settings(database_url=url))
    await store.start()
    count = max(1, 2_000 // entries)
    batches = [
        [LogEntry(execution_id=new_id(), n=1, at=0.0, applied=("start",), events=()) for _ in range(entries)]
        for _ in range(count + 1)
    ]
    await store.append(batches.pop())
    before = time.process_time()
    for batch in batches:
        assert len(await store.append(batch)) == entries
    spent = time.process_time() - before
    await store.stop()
    return spent / (count * entries) * 1e6


async def _least(measure: Callable[[], Awaitable[float]]) -> float:
    return min([await measure() for _ in range(ROUNDS)])


async def _all(rabbitmq_url: str, postgresql_url: str) -> None:
    collect_rarely()
    print("processor time, least of several rounds, in microseconds")
    for workload in (CHAIN10, FAN50, WIDE, SINGLE):
        print(f"orchestrator, a step of {workload.name}: {await _least(lambda w=workload: orchestrator_layer(w)):.0f}")  # type: ignore[misc]
    for batch in (1, 25, 50):
        print(f"agent host, a step in messages of {batch}: {await _least(lambda b=batch: agent_layer(b)):.0f}")  # type: ignore[misc]
    both = [await bus_layer(rabbitmq_url) for _ in range(3)]
    print(f"RabbitMQ, a message published: {min(one for one, _ in both):.0f}")
    print(f"RabbitMQ, a message consumed: {min(one for _, one in both):.0f}")
    for entries in (1, 25, 200):
        spent = await _least(lambda n=entries: store_layer(postgresql_url, n))  # type: ignore[misc]
        print(f"PostgreSQL, an entry in batches of {entries}: {spent:.0f}")


def main() -> int:
    configure_logging(Settings(log_level=LogLevel.WARNING), "layers")
    with servers_for({"rabbitmq", "postgresql"}, {}, lambda line: print(line, file=sys.stderr)) as session:
        urls = session.servers
        if urls.rabbitmq_url is None or urls.postgresql_url is None:
            print(f"cannot run: {dict(session.missing)}", file=sys.stderr)
            return 2
        uvloop.run(_all(urls.rabbitmq_url, urls.postgresql_url))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
