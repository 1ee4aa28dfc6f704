"""Agents for tests of coordination: contractors, who bid as their config says, and jurors, who have opinions."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from contracts.envelope import new_id
from contracts.registry import AgentCreated, CreateAgent
from services.runtime.agent import BaseAgent, CapabilityError, capability, current_step, report_progress
from services.runtime.agent.negotiation_messages import Answer, Bid, CallForProposals, Decline, Opinion, Rejection
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Protocol, Settings
from tests.support.running import Running, start

SETTINGS = Settings(
    communication_protocol=Protocol.DIRECT,
    shutdown_timeout=0.5,
    agent_heartbeat=0.5,
    # Said here because this may be imported before the tests' environment is set.
    agent_policy=Path(__file__).with_name("policy.toml"),
)


class Site(BaseModel):
    site: str


class Survey(BaseModel):
    site: str
    by: str


class Contractor(BaseAgent):
    """Surveys sites. Its config may have ``bid``, and ``manner``: ``silent`` never answers a call, ``declines``,
    ``fails`` at the work, ``vanishes`` in the middle of it."""

    agent_type = "contractor"
    held: ClassVar[asyncio.Event]
    done: ClassVar[list[str]] = []
    refused: ClassVar[dict[str, str]] = {}

    @property
    def manner(self) -> str:
        return str(self.config.get("manner", ""))

    async def bid(self, call: CallForProposals) -> Bid | Decline | None:
        if self.manner == "silent":
            await self.held.wait()
        if self.manner == "declines":
            return Decline(reason="fully booked")
        return await super().bid(call)

    async def on_rejected(self, rejection: Rejection) -> None:
        self.refused[self.agent_id] = rejection.reason

    @capability("survey")
    async def survey(self, request: Site) -> Survey:
        """Survey a site."""
        self.done.append(self.agent_id)
        if self.manner == "fails":
            raise CapabilityError("the theodolite is broken", code="Broken", retryable=True)
        if self.manner == "vanishes":
            await self.held.wait()
        return Survey(site=request.site, by=self.agent_id)


class Case(BaseModel):
    case: str
    heard: list[Opinion] = Field(default_factory=list)


class Verdict(BaseModel):
    verdict: str | None
    because: str


class Juror(BaseAgent):
    """Answers what its config says, ``answers`` of one round after the other (the last for all further ones).
    ``follows``: from the second round on it takes the answer that most others gave. ``silent_in``: rounds in which it
    never answers."""

    agent_type = "juror"
    held: ClassVar[asyncio.Event]
    shown: ClassVar[dict[tuple[str, int], list[Opinion]]] = {}

    async def answer_question(self, question: str, others: Sequence[Opinion], round: int) -> Answer | None:
        self.shown[self.agent_id, round] = list(others)
        if round in self.config.get("silent_in", ()):
            await self.held.wait()
        if self.config.get("follows") and others:
            (answer, _), *_ = Counter(other.answer for other in others).most_common(1)
            return Answer(answer=answer, argument="the others have convinced me")
        answers = self.config.get("answers") or [None]
        answer = answers[min(round, len(answers)) - 1]
        return None if answer is None else Answer(answer=answer, argument=f"{self.agent_id} is sure of it")

    @capability("judge")
    async def judge(self, request: Case) -> Verdict:
        """Judge a case."""
        said = await self.answer_question(request.case, request.heard, 2 if request.heard else 1)
        return Verdict(verdict=said.answer if said else None, because=said.argument if said else "")


class Steps(BaseModel):
    key: str = ""
    hold: bool = False
    fail: bool = False


class Told(BaseModel):
    key: str


class Toiler(BaseAgent):
    """Does steps of workflows that others delegate: it may wait until a test lets go, or fail."""

    agent_type = "toiler"
    begun: ClassVar[list[str]] = []
    cancelled: ClassVar[list[str]] = []
    let_go: ClassVar[set[str]] = set()

    @capability("toil")
    async def toil(self, request: Steps) -> Told:
        """Do a step."""
        step = current_step()
        assert step is not None
        self.begun.append(step.idempotency_key)
        if request.fail:
            raise CapabilityError(f"{request.key} is to fail", code="ToldToFail")
        report_progress(0.5, "toiling")
        try:
            while request.hold and request.key not in self.let_go:
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.append(step.idempotency_key)
            raise
        return Told(key=request.key)


def host(agent_class: type[BaseAgent]) -> Callable[[DirectBroker], Service]:
    return lambda broker: agent_service(agent_class, SETTINGS, DirectBus(broker))


def begin_anew() -> None:
    """Forget what the agents of earlier tests did."""
    Contractor.held, Juror.held = asyncio.Event(), asyncio.Event()
    for noted in (Contractor.done, Contractor.refused, Juror.shown, Toiler.begun, Toiler.cancelled, Toiler.let_go):
        noted.clear()  # type: ignore[attr-defined]


def release() -> None:
    """Let those go on that never answer: nobody waits for them any more, but for the test's end."""
    Contractor.held.set()
    Juror.held.set()


async def create(system: Running, agent_type: str, agents: Mapping[str, Mapping[str, Any]]) -> None:
    """Create instances, id -> config."""
    created = await asyncio.gather(
        *(
            system.ask(CreateAgent(agent_type=agent_type, agent_id=agent_id, config=dict(config), request_id=new_id()))
            for agent_id, config in agents.items()
        )
    )
    assert all(isinstance(answer, AgentCreated) for answer in created), created


async def coordinate(system: Running, action: str, inputs: Mapping[str, Any], **step: Any) -> dict[str, Any]:
    """What one step of the coordinator gives; the step must succeed."""
    execution_id = await begin(system, action, inputs, **step)
    status = await system.ended(execution_id)
    assert status == "completed", await errors(system, execution_id)
    output = (await system.outputs(execution_id))["s"]
    assert isinstance(output, dict)
    return output


async def begin(system: Running, action: str, inputs: Mapping[str, Any], **step: Any) -> str:
    """Start an execution of one step ``s`` of the coordinator; returns its id."""
    one = {"id": "s", "agent_type": "coordinator_agent", "action": action, "inputs": dict(inputs), **step}
    message = start({"name": "coordination", "steps": [one]})
    answer = await system.ask(message)
    assert answer.TYPE == "execution.accepted.v1", answer
    return message.execution_id


async def errors(system: Running, execution_id: str) -> dict[str, Any]:
    """The error of each step that failed."""
    entries = (await system.store.read_log({execution_id: 0}))[execution_id]
    events = [event for entry in entries for event in entry.events]
    return {event.step: event.error for event in events if event.kind == "step_failed"}
