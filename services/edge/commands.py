"""Commands to the rest of the system: sent over the bus, answered in a set time or not at all."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from contracts.envelope import Message
from contracts.execution import Refused
from contracts.topology import Address
from services.edge.pressure import Pressure
from services.edge.problems import Problem, refused, unavailable
from services.runtime.bus.base import Bus, BusUnavailable, UnroutableMessage
from services.runtime.envelope_codec import Outgoing
from services.runtime.requests import ReplyTimeout, Requests
from services.runtime.service import Outbox
from services.runtime.telemetry.tracing_sends import SendSpans

log = structlog.get_logger(__name__)

A = TypeVar("A", bound=Message)


@dataclass(frozen=True, slots=True)
class Taker:
    """Who takes a command: what problems call it, what they say where it is not there (``absent``), and how long it may
    take to answer if that is not what anybody may (``seconds``). ``paces``: how fast it answers says how much this edge
    can have in hand."""

    name: str
    absent: str
    seconds: float | None = None
    paces: bool = False


def service(name: str, *, seconds: float | None = None, paces: bool = False) -> Taker:
    absent = f"no {name} has ever been connected to the broker; nothing was sent"
    return Taker(f"the {name}", absent, seconds, paces)


ORCHESTRATOR = service("orchestrator", paces=True)


class Unanswered(Problem):
    """No answer came in time. Whether the command took effect is unknown."""


class Commands:
    """Sends a command and gives its answer, or the problem that stands in its way.

    Args:
        seconds: that who takes a command has to answer it.
    """

    def __init__(
        self,
        bus: Bus,
        requests: Requests,
        outbox: Outbox,
        pressure: Pressure,
        sends: SendSpans | None = None,
        *,
        seconds: float,
    ) -> None:
        self._seconds = seconds
        self._bus = bus
        self._requests = requests
        self._outbox = outbox
        self._pressure = pressure
        self._sends = sends or SendSpans(None)

    async def ask(
        self,
        command: Message,
        answer: type[A],
        *,
        actor: str,
        correlation_id: str,
        members: Mapping[str, Any],
        repeating: str,
        to: Address | None = None,
        of: Taker = ORCHESTRATOR,
        message_id: str = "",
    ) -> A:
        """Send ``command``, to its own address if not ``to`` another, and return its ``answer``.

        ``actor`` is on whose behalf it is sent. ``members`` names what the command is about, for the problem document;
        ``repeating`` says there what sending it again would do, where it is unknown whether it took effect.

        Raises:
            Unanswered: 503, no answer came in time.
            Problem: refused, or 503 because the broker is away or nobody has ever taken such commands.
        """
        self._require_broker(members)
        began, seconds = time.monotonic(), self._seconds if of.seconds is None else of.seconds
        try:
            with self._sends.sending(command, to, correlation_id=correlation_id) as traceparent:
                outgoing = Outgoing(
                    command,
                    to=to,
                    correlation_id=correlation_id,
                    message_id=message_id,
                    actor=actor,
                    traceparent=traceparent,
                )
                reply = await self._requests.ask(outgoing, timeout=seconds)
        except (UnroutableMessage, BusUnavailable) as error:
            raise _not_sent(error, command, of, members, repeating) from None
        except ReplyTimeout:
            if of.paces:
                self._pressure.unanswered()
            what = f"no answer from {of.name} within {seconds:g} s: {_perhaps(repeating)}"
            raise Unanswered("unavailable", what, members=members) from None
        if of.paces:
            self._pressure.answered(time.monotonic() - began)
        if isinstance(reply, Refused):
            raise self._problem(reply, of)
        if not isinstance(reply, answer):
            raise TypeError(f"{command.TYPE} was answered with {reply.TYPE}, not {answer.TYPE}")
        return reply

    async def send(
        self,
        message: Message,
        *,
        actor: str,
        correlation_id: str,
        members: Mapping[str, Any],
        repeating: str,
        to: Taker,
        message_id: str,
    ) -> None:
        """Send a message that nobody here waits for the answer of; return once the broker has it.

        Raises:
            Problem: 503 because the broker is away or no queue takes the message.
        """
        self._require_broker(members)
        try:
            with self._sends.sending(message, correlation_id=correlation_id) as traceparent:
                outgoing = Outgoing(
                    message,
                    correlation_id=correlation_id,
                    message_id=message_id,
                    actor=actor,
                    traceparent=traceparent,
                )
                await self._outbox.send([outgoing])
        except (UnroutableMessage, BusUnavailable) as error:
            raise _not_sent(error, message, to, members, repeating) from None

    def _require_broker(self, members: Mapping[str, Any]) -> None:
        if not self._bus.connected:
            raise unavailable("the message broker is away; nothing was sent", **members)

    def _problem(self, reply: Refused, of: Taker) -> Problem:
        if reply.code == "overloaded" and of.paces:
            return self._pressure.no_room(reply.retry_after)
        return refused(reply)


def _not_sent(
    error: UnroutableMessage | BusUnavailable, message: Message, to: Taker, members: Mapping[str, Any], repeating: str
) -> Problem:
    if isinstance(error, UnroutableMessage):
        return unavailable(to.absent, **members)
    log.warning("broker unavailable", type=message.TYPE, error=str(error))
    return unavailable(f"the message broker is away: {_perhaps(repeating)}", **members)


def _perhaps(repeating: str) -> str:
    return f"the command may still take effect; {repeating}"
