"""Messages that agents send each other, and the methods of an agent that handle them."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from services.runtime.agent.capability import CapabilityDeclarationError, CapabilityError, in_thread
from services.runtime.agent.json_values import as_json

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__conclave_message_type__"


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to this agent. ``sender_id`` is the agent or client that sent it; ``retry_count`` says how often the
    agent failed on it before. ``message_id`` is the same each time: a message may come more than once."""

    body: dict[str, Any]
    message_type: str = ""
    sender_id: str = ""
    message_id: str = ""
    retry_count: int = 0


@dataclass(frozen=True, slots=True)
class BoundHandler:
    """The handler that one agent object has for a message type."""

    message_type: str
    handle: Callable[[Mail], Any]
    is_async: bool

    async def __call__(self, mail: Mail) -> dict[str, Any]:
        answer = await self.handle(mail) if self.is_async else await asyncio.to_thread(in_thread, self.handle, mail)
        if answer is None:
            return {}
        if not isinstance(answer, dict | BaseModel):
            given = type(answer).__name__
            message = f"the handler of {self.message_type!r} returned {given}, not a dict, a Pydantic model or None"
            raise CapabilityError(message, code="InvalidOutput")
        return as_json(answer)


def on_message(message_type: str) -> Callable[[F], F]:
    """Mark a method ``(self, message: Mail) -> dict | BaseModel | None`` as the handler of a message type.

    An ``async def`` runs on the event loop and must not block it; a plain ``def`` runs in a worker thread. What it
    returns is the answer to a sender that asked for one. A ``CapabilityError`` that is not ``retryable`` refuses the
    message; after any other exception it comes again, until the limit of retries.
    """

    def mark(method: F) -> F:
        setattr(method, _MARK, message_type)
        return method

    return mark


def bind_handler(message_type: str, method: Callable[..., Any]) -> BoundHandler:
    """
    Raises:
        CapabilityDeclarationError: the type has no name, or the handler does not take exactly one argument.
    """
    where = f"{getattr(method, '__qualname__', method)!s} (message type {message_type!r})"
    if not message_type:
        raise CapabilityDeclarationError(f"{where} needs a message type with a name")
    takes = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty]
    if len(takes) != 1:
        raise CapabilityDeclarationError(f"{where} must take exactly one argument, the message")
    return BoundHandler(message_type, method, inspect.iscoroutinefunction(method))


def handlers_on(agent: object) -> dict[str, BoundHandler]:
    """Every handler that an agent object's class declares, by message type."""
    found: dict[str, BoundHandler] = {}
    for attribute in dir(type(agent)):
        message_type = getattr(getattr(type(agent), attribute, None), _MARK, None)
        if message_type is None:
            continue
        if message_type in found:
            raise CapabilityDeclarationError(f"{type(agent).__name__} handles the message type {message_type!r} twice")
        found[message_type] = bind_handler(message_type, getattr(agent, attribute))
    return found
