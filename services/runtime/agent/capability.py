"""Capabilities: methods of an agent with a Pydantic input and output model.

The models' JSON Schemas are what submit-time validation, the registry and the documentation use, so what a
capability accepts is written in one place.
"""

import asyncio
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from contracts.agents import Capability
from services.runtime.agent.error_text import sendable

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__conclave_capability__"
_WAITS = "__conclave_waits__"


class CapabilityError(Exception):
    """A capability refuses or fails, and says why.

    ``code`` is a short CamelCase name that a retry policy's ``on`` can list (``MissingValues``);
    ``retryable`` says whether trying again could help; ``details`` is JSON for whoever reads the error.
    """

    def __init__(
        self, message: str, *, code: str = "CapabilityError", retryable: bool = False, details: Any = None
    ) -> None:
        super().__init__(message)
        # Whatever the writer of an agent hands over, what travels is a text and a truth value.
        self.code = sendable(code)
        self.retryable = bool(retryable)
        self.details = details


class CapabilityDeclarationError(TypeError):
    """A method marked as a capability does not declare what it takes and gives."""


def in_thread(call: Callable[[Any], Any], argument: Any) -> Any:
    """Call what runs in a worker thread. No future can carry a ``StopIteration``: whoever awaits it would wait for
    ever.

    Raises:
        RuntimeError: it raised ``StopIteration``, as a coroutine's own would become.
    """
    try:
        return call(argument)
    except StopIteration as error:
        raise RuntimeError(f"{getattr(call, '__qualname__', call)} raised StopIteration") from error


@dataclass(frozen=True, slots=True)
class BoundCapability:
    """A capability of one agent object: how to describe it and how to call it."""

    name: str
    input_model: type[BaseModel]
    output_model: type[BaseModel]
    call: Callable[..., Any]
    is_async: bool
    description: str
    waits: bool = False

    async def __call__(self, request: BaseModel) -> Any:
        """What the method gives: on the event loop if it is asynchronous, otherwise in a worker thread."""
        return await self.call(request) if self.is_async else await asyncio.to_thread(in_thread, self.call, request)

    def describe(self) -> Capability:
        return Capability(
            name=self.name,
            description=self.description,
            input_schema=self.input_model.model_json_schema(mode="validation"),
            output_schema=self.output_model.model_json_schema(mode="serialization"),
        )


def capability(name: str, *, waits: bool = False) -> Callable[[F], F]:
    """Mark a method ``(self, request: InputModel) -> OutputModel`` as the action ``name``.

    An ``async def`` runs on the event loop and must not block it; a plain ``def`` runs in a worker thread,
    which is where computation belongs. ``waits`` says that most of its time goes into waiting for other agents: it
    takes no place of its host's AGENT_CONCURRENCY, where those it waits for may need one.
    """

    def mark(method: F) -> F:
        setattr(method, _MARK, name)
        setattr(method, _WAITS, waits)
        return method

    return mark


def bind(name: str, method: Callable[..., Any]) -> BoundCapability:
    """Read a method's models from its annotations.

    Raises:
        CapabilityDeclarationError: it does not take exactly one Pydantic model and return one.
    """
    hints = typing.get_type_hints(method)
    output = hints.pop("return", None)
    parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
    models = [hints.get(p.name) for p in parameters]
    where = f"{getattr(method, '__qualname__', method)!s} (capability {name!r})"
    if len(models) != 1 or not _is_model(models[0]):
        raise CapabilityDeclarationError(f"{where} must take exactly one argument annotated with a Pydantic model")
    if not _is_model(output):
        raise CapabilityDeclarationError(f"{where} must be annotated with the Pydantic model it returns")
    return BoundCapability(
        name=name,
        input_model=typing.cast(type[BaseModel], models[0]),
        output_model=typing.cast(type[BaseModel], output),
        call=method,
        is_async=inspect.iscoroutinefunction(method),
        description=inspect.cleandoc(method.__doc__ or ""),
        waits=bool(getattr(method, _WAITS, False)),
    )


def declared_on(agent: object) -> dict[str, BoundCapability]:
    """Every capability that an agent object's class declares, by name."""
    found: dict[str, BoundCapability] = {}
    for attribute in dir(type(agent)):
        name = getattr(getattr(type(agent), attribute, None), _MARK, None)
        if name is None:
            continue
        if name in found:
            raise CapabilityDeclarationError(f"{type(agent).__name__} declares the capability {name!r} twice")
        found[name] = bind(name, getattr(agent, attribute))
    return found


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
