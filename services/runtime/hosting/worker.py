"""Commands for the agents of a host: each runs as a task of its own, and its result goes out when it comes."""

import asyncio

import structlog

from contracts.envelope import new_id
from contracts.execution import RunSteps, StepCommand, StepResult
from contracts.history import StepError
from services.runtime.correlation import follow
from services.runtime.hosting.agents import Agents
from services.runtime.hosting.performer import Performer
from services.runtime.hosting.results import Finished, ResultSender, Work
from services.runtime.service import Received

log = structlog.get_logger(__name__)


class Worker:
    """Takes over messages of commands. How many run side by side is the limits' business, which the performer waits
    for.

    Args:
        patience: seconds that a command for an instance waits for it, where this host does not run it yet.
        drain_timeout: seconds that ``stop`` gives to what is in hand.
    """

    def __init__(
        self, agents: Agents, performer: Performer, sender: ResultSender, *, patience: float, drain_timeout: float
    ) -> None:
        self._agents = agents
        self._performer = performer
        self._sender = sender
        self._patience = patience
        self._drain_timeout = drain_timeout
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing: work comes by message."""

    async def stop(self) -> None:
        """Let what is in hand end; what does not end in time goes back to the broker with the connection."""
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=self._drain_timeout)
            for task in unfinished:
                task.cancel()

    async def run(self, received: Received[RunSteps]) -> None:
        """Take over a message of commands; its results are sent as they come."""
        message = received.message
        if not message.commands:
            await received.delivery.ack()
        work = Work(received, len(message.commands))
        for command in message.commands:
            task = asyncio.create_task(self._one(message, command, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, message: RunSteps, command: StepCommand, work: Work) -> None:
        follow(command.correlation_id)
        agent = self._agents.find(message.agent_type, message.agent_id)
        if agent is None:
            agent = await self._agents.find_soon(message.agent_type, message.agent_id, self._patience)
        if agent is None:
            result, size = _nobody(message, command), 0
        else:
            result, size = await self._performer.perform(agent, message.action, command, alone=message.quarantine)
        self._sender.put(Finished(result, command.reply_key, message.action, size, work))


def _nobody(message: RunSteps, command: StepCommand) -> StepResult:
    """What becomes of a command from quarantine whose instance is gone, or not here yet: another host may have it."""
    error = f"no agent {message.agent_id!r} of type {message.agent_type!r} runs here"
    log.info("attempt failed", command=command.id, error="UnknownAgent", detail=error)
    return StepResult(
        result_id=new_id(),
        execution_id=command.execution_id,
        step=command.step,
        attempt=command.attempt,
        ok=False,
        error=StepError(type="UnknownAgent", message=error, retryable=True),
        agent_id=message.agent_id or "",
    )
