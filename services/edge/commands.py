"""Commands to the rest of the system: sent over the bus, answered within two seconds or not at all."""

import time
from collections.abc import Mapping
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

log = structlog.get_logger(__name__)

A = TypeVar("A", bound=Message)

REPLY_SECONDS = 1.8


class Commands:
    """Sends a command and gives its answer, or the problem that stands in its way."""

    def __init__(
        self, bus: Bus, requests: Requests, pressure: Pressure, *, reply_seconds: float = REPLY_SECONDS
    ) -> None:
        self._bus = bus
        self._requests = requests
        self._pressure = pressure
        self._reply_seconds = reply_seconds

    async def ask(
        self,
        command: Message,
        answer: type[A],
        *,
        correlation_id: str,
        members: Mapping[str, Any],
        repeating: str,
        to: Address | None = None,
    ) -> A:
        """Send ``command``, to its own address if not ``to`` another, and return its ``answer``.

        ``members`` names what the command is about, for the problem document; ``repeating`` says there what sending
        it again would do, where it is unknown whether it took effect.

        Raises:
            Problem: refused, or 503 because the broker is away, nobody has ever taken such commands, or no answer
                came in time.
        """
        if not self._bus.connected:
            raise unavailable("the message broker is away; nothing was sent", **members)
        began = time.monotonic()
        try:
            reply = await self._requests.ask(
                Outgoing(command, to=to, correlation_id=correlation_id), timeout=self._reply_seconds
            )
        except UnroutableMessage:
            what = "no orchestrator has ever been connected to the broker; nothing was sent"
            raise unavailable(what, **members) from None
        except BusUnavailable as error:
            log.warning("broker unavailable", command=command.TYPE, error=str(error))
            raise unavailable(f"the message broker is away: {_perhaps(repeating)}", **members) from None
        except ReplyTimeout:
            self._pressure.unanswered()
            what = f"no answer from the orchestrator within {self._reply_seconds:g} s: {_perhaps(repeating)}"
            raise unavailable(what, **members) from None
        self._pressure.answered(time.monotonic() - began)
        if isinstance(reply, Refused):
            raise self._problem(reply)
        if not isinstance(reply, answer):
            raise TypeError(f"{command.TYPE} was answered with {reply.TYPE}, not {answer.TYPE}")
        return reply

    def _problem(self, reply: Refused) -> Problem:
        return self._pressure.no_room(reply.retry_after) if reply.code == "overloaded" else refused(reply)


def _perhaps(repeating: str) -> str:
    return f"the command may still take effect; {repeating}"
