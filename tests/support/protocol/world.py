"""The world in which replicas run: a clock, a store, queues, hosts, and gates at every await."""

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from contracts.catalog import MESSAGES
from contracts.envelope import envelope_of, wrap
from contracts.execution import (
    CancelExecution,
    ExecutionEndedEvent,
    RunSteps,
    StartExecution,
    StepProgress,
    StepResult,
    StepResults,
    StepsCancelled,
    StepsProgressed,
    WakeExecutions,
    WakeUp,
)
from contracts.history import ExecutionStatus, Header, LogEntry, StepError, StepProgressed, StepStatus, StepSucceeded
from services.orchestrator.admission import Admission, Known
from services.orchestrator.affinity import Affinity
from services.orchestrator.committer import Committer, Works
from services.orchestrator.engine import ExecutionState, Limits, Plan, execution_plan, fold_entry
from services.orchestrator.intake import Intake
from services.orchestrator.outgoing import BatchSizes
from services.orchestrator.states import States
from services.runtime.bus.base import Frame
from services.runtime.service import Outbox, Received
from tests.support.memory_store import MemoryStore
from tests.support.protocol.gates import Dead, GatedBus, GatedStore, Parcel, TakenDelivery, Violation
from tests.support.protocol.workflows import Traits, random_workflow

DELIVERY_LIMIT = 3
REPORTS_A_RUN = 3
LEASE = 60.0


class KnownPlans:
    """The definitions, which are not what is tested here."""

    def __init__(self, plans: dict[str, Plan]) -> None:
        self._plans = plans

    async def plan(self, definition_hash: str) -> Plan:
        return self._plans[definition_hash]

    async def accept(self, raw: dict[str, Any]) -> Plan:
        return self._plans[raw["hash"]]


CommitterClass = Callable[..., Committer]


class Replica:
    """An orchestrator process: crashes and comes back with nothing but what the store and the broker hold."""

    def __init__(self, world: "World", name: str, skew: float) -> None:
        self.world = world
        self.name = name
        self.skew = skew
        self.life = 0
        self.connection = 0
        self.begin()

    def begin(self) -> None:
        store: Any = GatedStore(self.world, self)
        plans: Any = KnownPlans(self.world.plans)
        outbox = Outbox(GatedBus(self.world, self), self.name)  # type: ignore[arg-type]
        sizes, affinity = BatchSizes(), Affinity()
        self.states = States(store, plans)
        self.committer = self.world.committer_class(
            store,
            self.states,
            outbox,
            sizes=sizes,
            affinity=affinity,
            clock=lambda: self.world.now + self.skew,
            sleep=lambda _: self.world.gate(self, "pause"),
            apart=self._apart,
        )
        mailbox = self.committer.mailbox
        admission = Admission(store, mailbox, limit=1_000_000)
        self.intake = Intake(mailbox, plans, None, sizes, admission, Known(store), affinity)  # type: ignore[arg-type]
        self.task = self.world.loop.create_task(self.committer._run())

    async def _apart(self, decide: Callable[[], Works]) -> Works:
        """What runs in a thread elsewhere: others go on before it is done."""
        await self.world.gate(self, "decide")
        return decide()

    async def take(self, delivery: TakenDelivery) -> None:
        message_class = MESSAGES[delivery.type]
        received: Received[Any] = Received(envelope_of(message_class).model_validate_json(delivery.body), delivery)
        intakes: dict[type, Callable[[Any], Awaitable[None]]] = {
            StartExecution: self.intake.start,
            CancelExecution: self.intake.cancel,
            StepResults: self.intake.results,
            StepsProgressed: self.intake.progress,
            WakeExecutions: self.intake.wake,
        }
        await intakes[message_class](received)


@dataclass(eq=False)
class Run:
    """A host at work on a message of commands; ``todo`` are those without a result yet, ``reports`` how often it has
    said how far each is."""

    parcel: Parcel
    message: RunSteps
    todo: list[Any]
    alone: bool
    number: int
    reports: Counter[str] = field(default_factory=Counter)


class World:
    def __init__(
        self, seed: int, committer_class: CommitterClass = Committer, store: MemoryStore | None = None
    ) -> None:
        self.rng = random.Random(seed)
        self.loop = asyncio.new_event_loop()
        self.committer_class = committer_class
        self.store = store or MemoryStore()
        self.now = 1_000.0
        self.plans: dict[str, Plan] = {}
        self.executions: dict[str, Plan] = {}
        self.traits: dict[str, dict[str, Traits]] = {}
        self.shard: list[Parcel] = []
        self.commands: list[Parcel] = []
        self.quarantined: list[Parcel] = []
        self.unsettled: set[TakenDelivery] = set()
        self.runs: list[Run] = []
        self.gates: list[tuple[Replica, int, str, asyncio.Future[None]]] = []
        self.dead_letters: list[tuple[str, str]] = []
        self.taken_forgeries: list[Parcel] = []
        self.told: defaultdict[str, set[str]] = defaultdict(set)
        self.told_cancelled: defaultdict[str, set[str]] = defaultdict(set)
        self.ran: Counter[str] = Counter()
        self.results: dict[tuple[str, str], Any] = {}
        self.lose_next_answer = False
        self.broken = ""
        self.unheard = ""
        self._numbers = itertools.count(1)
        for i in range(self.rng.choice([1, 1, 2])):
            definition, traits = random_workflow(self.rng)
            plan = execution_plan(definition, Limits(lease=LEASE))
            self.plans[plan.definition_hash] = plan
            self.executions[f"e{i}"] = plan
            self.traits[f"e{i}"] = traits
        self.replicas = [Replica(self, f"r{i}", self.rng.choice([0, 0, -2, 2])) for i in range(2)]
        for execution_id in self.executions:
            self.start(execution_id)

    # ---- what clients do

    def start(self, execution_id: str) -> None:
        definition_hash = self.executions[execution_id].definition_hash
        self.send(StartExecution(execution_id=execution_id, definition={"hash": definition_hash}))

    def cancel(self, execution_id: str) -> None:
        if self.log(execution_id):
            self.send(CancelExecution(execution_id=execution_id))

    def send(self, message: Any, *, forged: bool = False) -> None:
        envelope = wrap(message, sender="test", message_id=str(next(self._numbers)))
        self.shard.append(Parcel(envelope.model_dump_json().encode(), message.TYPE, forged=forged))

    def forge(self, execution_id: str) -> None:
        """Somebody answers for a step of another agent type, or says how far it is."""
        if not self.log(execution_id):
            return
        step = self.rng.choice(list(self.executions[execution_id].steps))
        number = next(self._numbers)
        about: dict[str, Any] = {"execution_id": execution_id, "step": step, "attempt": self.rng.choice([1, 1, 2])}
        if self.rng.random() < 0.3:
            report = StepProgress(**about, run_id=f"forged-{number}", number=1, fraction=0.5, at=self.now)
            message: Any = StepsProgressed(reply_key="shard.0", agent_type="impostor", reports=(report,))
        else:
            error = self.rng.choice([None, StepError(type="Forged", message="it failed")])
            result = StepResult(
                **about, result_id=f"forged-{number}", ok=error is None, output={"value": -1, "of": {}}, error=error
            )
            message = StepResults(reply_key="shard.0", agent_type="impostor", results=(result,))
        self.send(message, forged=True)

    # ---- gates: where a process waits until the test lets it go on

    async def gate(self, replica: Replica, label: str) -> None:
        waiting = self.loop.create_future()
        self.gates.append((replica, replica.life, label, waiting))
        life = replica.life
        await waiting
        if replica.life != life:
            raise Dead

    def open_gate(self, index: int) -> None:
        _, _, _, waiting = self.gates.pop(index % len(self.gates))
        waiting.set_result(None)
        self.spin()

    def spin(self) -> None:
        """Let every task run to its next gate."""
        for _ in range(200):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            if not self.loop._ready:  # type: ignore[attr-defined]
                return

    # ---- the broker

    def deliver(self, replica: Replica, index: int) -> None:
        parcel = self.shard.pop(index % len(self.shard))
        delivery = TakenDelivery(self, parcel, replica, replica.connection)
        self.unsettled.add(delivery)
        self.loop.create_task(replica.take(delivery))
        self.spin()

    def duplicate(self, queue: list[Parcel], index: int) -> None:
        parcel = queue[index % len(queue)]
        queue.append(Parcel(parcel.body, parcel.type, forged=parcel.forged))

    def published(self, frame: Frame) -> None:
        message_class = MESSAGES[frame.type]
        message = envelope_of(message_class).model_validate_json(frame.body).payload
        if isinstance(message, RunSteps):
            for command in message.commands:
                self._check_inputs(command)
            queue = self.quarantined if message.quarantine else self.commands
            queue.append(Parcel(frame.body, frame.type))
        elif isinstance(message, ExecutionEndedEvent):
            self.told[message.execution_id].add(frame.type.split(".")[1])
        elif isinstance(message, StepsCancelled):
            for command_id in message.command_ids:
                execution_id = command_id.split("/")[0]
                if self.folded(execution_id).status is not ExecutionStatus.CANCELLED:
                    raise Violation(f"{command_id} was told to be cancelled before that was stored")
                self.told_cancelled[execution_id].add(command_id)

    def cut(self, replica: Replica) -> None:
        """The replica's connection is gone and it does not know yet: what it held goes to others, it works on."""
        replica.connection += 1
        for delivery in [d for d in self.unsettled if d.owner is replica and d.connection < replica.connection]:
            self.unsettled.discard(delivery)
            delivery.parcel.redeliveries += 1
            self.shard.insert(0, delivery.parcel)

    def crash(self, replica: Replica) -> None:
        self.cut(replica)
        replica.life += 1
        replica.task.cancel()
        for gate in [gate for gate in self.gates if gate[0] is replica]:
            self.gates.remove(gate)
            gate[3].cancel()
        self.spin()
        replica.begin()
        self.spin()

    # ---- the store

    async def append(self, entry: LogEntry) -> set[str]:
        before = self.log(entry.execution_id)
        stored = await self.store.append([entry])
        after = self.log(entry.execution_id)
        if after[: len(before)] != before:
            raise Violation(f"{entry.execution_id}: history was rewritten at entry {entry.n}")
        for event in entry.events if stored else ():
            if isinstance(event, StepProgressed) and event.deadline < self.now:
                raise Violation(f"{entry.execution_id}/{event.step}: its progress left it overdue")
            if isinstance(event, StepSucceeded):
                key = (entry.execution_id, event.step)
                if self.results.setdefault(key, event.output) != event.output:
                    raise Violation(f"{key} has two results")
        if self.lose_next_answer:
            self.lose_next_answer = False
            return set()
        return stored

    def log(self, execution_id: str) -> list[LogEntry]:
        return self.store.log_of(execution_id)

    def folded(self, execution_id: str) -> ExecutionState:
        state = ExecutionState(execution_id, self.executions[execution_id])
        for entry in self.log(execution_id):
            fold_entry(state, entry)
        return state

    def header(self, execution_id: str) -> Header | None:
        return self.store.header_of(execution_id)

    # ---- timers and hosts

    def fire_timers(self) -> None:
        for execution_id in self.executions:
            header = self.header(execution_id)
            waiting = sum(parcel.type == WakeExecutions.TYPE for parcel in self.shard)
            if header and not header.status.ended and header.wake_at and header.wake_at <= self.now and waiting < 3:
                wake_up = WakeUp(execution_id=execution_id, due=header.wake_at)
                self.send(WakeExecutions(reply_key="shard.0", wake_ups=(wake_up,)))

    def host_takes(self, index: int, *, alone: bool) -> None:
        queue = self.quarantined if alone else self.commands
        parcel = queue.pop(index % len(queue))
        message = envelope_of(RunSteps).model_validate_json(parcel.body).payload
        self.runs.append(Run(parcel, message, list(message.commands), alone, next(self._numbers)))

    def host_reports(self, index: int) -> None:
        """A host says how far one command of a message is, or has nothing more to say."""
        run = self.runs[index % len(self.runs)]
        command = run.todo[self.rng.randrange(len(run.todo))]
        if run.reports[command.id] == REPORTS_A_RUN:
            return
        run.reports[command.id] += 1
        number = run.reports[command.id]
        report = StepProgress(
            execution_id=command.execution_id,
            step=command.step,
            attempt=command.attempt,
            run_id=f"run-{run.number}-{command.step}",
            number=number,
            fraction=number / REPORTS_A_RUN,
            at=self.now,
        )
        self.send(StepsProgressed(reply_key=command.reply_key, agent_type=run.message.agent_type, reports=(report,)))

    def check_heard(self, parcel: Parcel) -> None:
        """A report that is acked is in the log, or came too late for it."""
        if parcel.type != StepsProgressed.TYPE:
            return
        for report in envelope_of(StepsProgressed).model_validate_json(parcel.body).payload.reports:
            step = self.folded(report.execution_id).step(report.step)
            recorded = (step.reported or {}).get(report.run_id, 0)
            open_still = step.status is StepStatus.RUNNING and step.attempt == report.attempt
            if open_still and recorded < report.number:
                # Not raised here, within the code under test, which might handle it.
                self.unheard = f"{report.id} of {report.step} was acked and is not in the log"

    def host_finishes(self, index: int) -> None:
        """A host brings one command of a message to its end: a result, a failure, a timeout, or its own death."""
        run = self.runs[index % len(self.runs)]
        command = run.todo.pop(self.rng.randrange(len(run.todo)))
        traits = self.traits[command.execution_id][command.step]
        if command.id in self.told_cancelled[command.execution_id]:
            self._report(command, StepError(type="Cancelled", message="nobody waits for it"))
            if not run.todo:
                self.runs.remove(run)
            return
        self.ran[command.id] += 1
        if traits.poison:
            self._host_dies_of(run, command)
            return
        if self.rng.random() < traits.slow:
            error: StepError | None = StepError(type="Timeout", message="slow", retryable=True)
        elif self.rng.random() < traits.fails:
            error = StepError(type="Unlucky", message="failed", retryable=True)
        else:
            error = None
        self._report(command, error)
        if not run.todo:
            self.runs.remove(run)

    def host_dies(self, index: int) -> None:
        """A host dies of something else: its message is delivered again."""
        run = self.runs.pop(index % len(self.runs))
        self._back(run)

    def _host_dies_of(self, run: Run, command: Any) -> None:
        self.runs.remove(run)
        if run.alone:
            self._report(command, StepError(type="AgentCrashed", message="died alone", retryable=True))
        else:
            self._back(run)

    def _back(self, run: Run) -> None:
        run.parcel.redeliveries += 1
        if run.alone or run.parcel.redeliveries <= DELIVERY_LIMIT:
            (self.quarantined if run.alone else self.commands).insert(0, run.parcel)
            return
        for command in run.message.commands:
            alone = run.message.model_copy(update={"commands": (command,), "quarantine": True})
            body = wrap(alone, sender="test").model_dump_json().encode()
            self.quarantined.append(Parcel(body, RunSteps.TYPE))

    def _report(self, command: Any, error: StepError | None) -> None:
        number = next(self._numbers)
        result = StepResult(
            result_id=f"result-{number}",
            execution_id=command.execution_id,
            step=command.step,
            attempt=command.attempt,
            ok=error is None,
            output=None if error else {"value": number, "of": command.inputs},
            error=error,
        )
        agent_type = self.executions[command.execution_id].steps[command.step].definition.agent_type
        self.send(StepResults(reply_key=command.reply_key, agent_type=agent_type, results=(result,)))

    def _check_inputs(self, command: Any) -> None:
        state = self.folded(command.execution_id)
        if state.status is None:
            raise Violation(f"{command.id} was sent before its execution was stored")
        for needed, value in command.inputs.items():
            step = state.step(needed)
            if not step.status.ended:
                raise Violation(f"{command.id} was sent before {needed} had ended")
            if step.output != value:
                raise Violation(f"{command.id} got {value!r} from {needed}, recorded is {step.output!r}")

    def close(self) -> None:
        for replica in self.replicas:
            replica.life += 1
            replica.task.cancel()
        for _, _, _, waiting in self.gates:
            waiting.cancel()
        self.spin()
        self.loop.close()
