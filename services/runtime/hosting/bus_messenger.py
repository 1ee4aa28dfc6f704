"""How the agents of a host reach the rest of the system: over the bus."""

from typing import Any, TypeVar

from contracts.envelope import Message, new_id
from contracts.execution import Refused
from contracts.registry import AgentMail, AgentReply
from services.runtime.agent import AgentFailed, CommandRefused
from services.runtime.correlation import current_correlation
from services.runtime.envelope_codec import Outgoing
from services.runtime.requests import Requests
from services.runtime.service import Outbox
from services.runtime.telemetry.tracing_sends import SendSpans

A = TypeVar("A", bound=Message)


class UnexpectedAnswer(Exception):
    """A command was answered by a message of another kind than it is answered by."""


class BusMessenger:
    """A ``Messenger``. ``timeout`` is for whoever names none, in seconds; ``sends`` makes the spans of what is sent."""

    def __init__(self, outbox: Outbox, requests: Requests, timeout: float, sends: SendSpans | None = None) -> None:
        self._outbox = outbox
        self._requests = requests
        self._timeout = timeout
        self._sends = sends or SendSpans(None)

    async def send(self, mail: AgentMail) -> str:
        message_id, correlation_id = new_id(), current_correlation()
        with self._sends.sending(mail, correlation_id=correlation_id) as traceparent:
            outgoing = Outgoing(mail, message_id=message_id, correlation_id=correlation_id, traceparent=traceparent)
            await self._outbox.send([outgoing])
        return message_id

    async def ask(self, mail: AgentMail, timeout: float | None = None) -> dict[str, Any]:
        answer = await self._ask(mail, timeout)
        if not isinstance(answer, AgentReply):
            message = answer.message if isinstance(answer, Refused) else f"it answered with {answer.TYPE}"
            raise AgentFailed(mail.agent_id, "NoReply", message)
        if answer.error is not None:
            raise AgentFailed(mail.agent_id, answer.code, answer.error)
        return answer.body or {}

    async def request(self, command: Message, answer: type[A], timeout: float | None = None) -> A:
        found = await self._ask(command, timeout)
        if isinstance(found, Refused):
            raise CommandRefused(found)
        if not isinstance(found, answer):
            raise UnexpectedAnswer(f"{command.TYPE} was answered by {found.TYPE}, not by {answer.TYPE}")
        return found

    async def _ask(self, message: Message, timeout: float | None) -> Message:
        correlation_id = current_correlation()
        with self._sends.sending(message, correlation_id=correlation_id) as traceparent:
            outgoing = Outgoing(message, correlation_id=correlation_id, traceparent=traceparent)
            return await self._requests.ask(outgoing, self._timeout if timeout is None else timeout)
