"""Commands for the agents of a host: each runs as a task of its own, and its result goes out when it comes."""

import asyncio
from collections.abc import Mapping
from itertools import islice

import structlog

from contracts.envelope import new_id
from contracts.execution import RunSteps, StepCommand, StepResult
from contracts.history import StepError
from services.runtime.correlation import take_in_hand
from services.runtime.hosting.agents import Agents
from services.runtime.hosting.counting import Uncounted, WorkCounts
from services.runtime.hosting.performer import Performer
from services.runtime.hosting.results import Finished, ResultSender, Work
from services.runtime.hosting.spans import AgentSpans
from services.runtime.service import Received

log = structlog.get_logger(__name__)

NAMED = 20  # steps given back at the end that have a line each


class Worker:
    """Takes over messages of commands. How many run side by side is the limits' business, which the performer waits
    for.

    Args:
        patience: seconds that a command for an instance waits for it, where this host does not run it yet.
        drain_timeout: seconds that ``stop`` gives to what is in hand.
    """

    def __init__(
        self,
        agents: Agents,
        performer: Performer,
        sender: ResultSender,
        *,
        patience: float,
        drain_timeout: float,
        spans: AgentSpans | None = None,
        counts: WorkCounts | None = None,
    ) -> None:
        self._agents = agents
        self._performer = performer
        self._sender = sender
        self._patience = patience
        self._drain_timeout = drain_timeout
        self._spans = spans or AgentSpans(None)
        self._counts = counts or Uncounted()
        self._tasks: dict[asyncio.Task[None], StepCommand] = {}

    async def start(self) -> None:
        """Nothing: work comes by message."""

    async def stop(self) -> None:
        """Let what is in hand end; what does not end in time goes back to the broker with the connection."""
        if not self._tasks:
            return
        try:
            await asyncio.wait(self._tasks, timeout=self._drain_timeout)
        finally:
            self._give_back({task: command for task, command in self._tasks.items() if not task.done()})

    async def run(self, received: Received[RunSteps]) -> None:
        """Take over a message of commands; its results are sent as they come."""
        message = received.message
        if not message.commands:
            await received.delivery.ack()
        work = Work(received, len(message.commands))
        for command in message.commands:
            task = asyncio.create_task(self._one(message, command, work))
            self._tasks[task] = command
            task.add_done_callback(self._tasks.pop)

    def _give_back(self, unfinished: Mapping[asyncio.Task[None], StepCommand]) -> None:
        for task in unfinished:
            task.cancel()
        for command in islice(unfinished.values(), NAMED):
            log.warning(
                "step given back, it did not end in time",
                correlation_id=command.correlation_id,
                execution_id=command.execution_id,
                step=command.step,
                attempt=command.attempt,
                waited=self._drain_timeout,
            )
        if len(unfinished) > NAMED:
            log.warning("more steps given back", steps=len(unfinished) - NAMED)

    async def _one(self, message: RunSteps, command: StepCommand, work: Work) -> None:
        take_in_hand(
            correlation_id=command.correlation_id,
            execution_id=command.execution_id,
            step=command.step,
            attempt=command.attempt,
            agent_type=message.agent_type,
            agent_id=message.agent_id or message.agent_type,
        )
        span = self._spans.begin(command)
        agent = self._agents.find(message.agent_type, message.agent_id)
        if agent is None:
            agent = await self._agents.find_soon(message.agent_type, message.agent_id, self._patience)
        if agent is None:
            result, size = _nobody(message, command), 0
        else:
            result, size = await self._performer.perform(agent, message.action, command, alone=message.quarantine)
        self._spans.acted(span, message, command, result)
        self._counts.ended(message, agent, result)
        self._sender.put(Finished(result, command.reply_key, message.action, size, work))
        _log_end(message.action, result)


def _nobody(message: RunSteps, command: StepCommand) -> StepResult:
    """What becomes of a command from quarantine whose instance is gone, or not here yet: another host may have it."""
    error = f"no agent {message.agent_id!r} of type {message.agent_type!r} runs here"
    fault = StepError(type="UnknownAgent", message=error, retryable=True)
    return command.failed(new_id(), fault, agent_id=message.agent_id or "")


def _log_end(action: str, result: StepResult) -> None:
    """The one line that each attempt has; which attempt it was is in hand."""
    seconds = round((result.finished_at or 0.0) - (result.started_at or 0.0), 6)
    if result.error is None:
        log.info("step succeeded", action=action, seconds=seconds, cached=result.cached)
    else:
        event = "step cancelled" if result.error.type == "Cancelled" else "step failed"
        log.info(event, action=action, seconds=seconds, error=result.error.type, detail=result.error.message)
