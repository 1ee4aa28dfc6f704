"""How an agent reaches the rest of the system. The host gives it a messenger when it starts the agent."""

from typing import Any, Protocol, TypeVar

from contracts.envelope import Message
from contracts.execution import Refused
from contracts.registry import AgentMail
from services.runtime.agent.capability import CapabilityError

A = TypeVar("A", bound=Message)


class CommandRefused(Exception):
    """Whoever takes such commands refused this one, and says why."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class AgentFailed(Exception):
    """The other agent could not answer: ``code`` and what it said."""

    def __init__(self, agent_id: str, code: str, message: str) -> None:
        super().__init__(f"agent {agent_id} could not answer: {message}")
        self.agent_id = agent_id
        self.code = code


class NotGranted(CapabilityError):
    """The agent policy does not grant this agent what it asks for; the message names the entry that is missing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="NotGranted")


class Messenger(Protocol):
    """Over whichever bus. ``services.runtime.requests.ReplyTimeout`` where no answer comes in time,
    ``services.runtime.bus.base.UnroutableMessage`` where nobody takes the message, ``BusUnavailable`` while the broker
    is away."""

    async def send(self, mail: AgentMail) -> str:
        """Publish a message to an agent and return the message's id, once the broker has it."""
        ...

    async def ask(self, mail: AgentMail, timeout: float | None = None) -> dict[str, Any]:
        """The same, and wait up to ``timeout`` seconds (None: AGENT_TIMEOUT) for the agent's answer.

        Raises:
            AgentFailed: the agent refused it, or failed until the limit of retries.
        """
        ...

    async def request(self, command: Message, answer: type[A], timeout: float | None = None) -> A:
        """Send a command to a service and return its answer; None: AGENT_TIMEOUT.

        Raises:
            CommandRefused: it was refused.
        """
        ...
