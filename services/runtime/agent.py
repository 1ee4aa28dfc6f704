"""BaseAgent: what every agent is. An agent type is a subclass with methods marked ``@capability``."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from contracts.agents import AgentDescriptor, AgentStatus
from services.runtime.capability import BoundCapability, CapabilityError, bind, declared_on


class Messenger(Protocol):
    """How an agent reaches other agents. The host gives it one when it starts the agent."""

    async def send(self, sender_id: str, agent_id: str, body: dict[str, Any]) -> str:
        """Publish a message to an agent and return the message's id, once the broker has it."""
        ...

    async def ask(self, sender_id: str, agent_id: str, body: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The same, and wait for the agent's answer."""
        ...


class AgentStopped(RuntimeError):
    """The agent is not running, so it takes no work."""


class BaseAgent:
    """An agent: an id, a configuration, a status, and capabilities.

    Subclasses set ``agent_type`` and declare capabilities; they may override ``on_start`` and ``on_stop`` for
    resources of their own, and ``process_message`` for messages that are no capability call.

    Parameters:
        agent_id: unique among all agents; letters, digits, ``_`` and ``-``.
        config: this instance's own configuration; what it may hold is the subclass's business.
    """

    agent_type: ClassVar[str]

    def __init__(self, agent_id: str, config: Mapping[str, Any] | None = None) -> None:
        self.agent_id = agent_id
        self.config: dict[str, Any] = dict(config or {})
        self.status = AgentStatus.STOPPED
        self._capabilities: dict[str, BoundCapability] = declared_on(self)
        self._messenger: Messenger | None = None
        self._in_progress = 0

    # ---- lifecycle

    async def start(self, messenger: Messenger | None = None) -> None:
        """Take resources and become idle. Starting a started agent changes nothing."""
        if self.status is not AgentStatus.STOPPED:
            return
        self._messenger = messenger
        try:
            await self.on_start()
        except BaseException:
            self.status = AgentStatus.ERROR
            raise
        self.status = AgentStatus.IDLE

    async def stop(self) -> None:
        """Give resources back. Work in hand is the host's to wait for."""
        if self.status is AgentStatus.STOPPED:
            return
        self.status = AgentStatus.STOPPED
        await self.on_stop()

    async def on_start(self) -> None:
        """Take what the agent needs: files, connections. Nothing by default."""

    async def on_stop(self) -> None:
        """Give back what ``on_start`` took. Nothing by default."""

    # ---- capabilities

    @property
    def capabilities(self) -> list[str]:
        return sorted(self._capabilities)

    def get_capabilities(self) -> list[str]:
        """The names of the actions this agent offers."""
        return self.capabilities

    def register_capability(self, name: str, method: Callable[..., Any]) -> None:
        """Add a capability at run time; registering the same name again replaces it."""
        self._capabilities[name] = bind(name, method)

    def describe(self) -> AgentDescriptor:
        return AgentDescriptor(
            agent_type=self.agent_type,
            description=(type(self).__doc__ or "").strip(),
            capabilities=tuple(self._capabilities[name].describe() for name in self.capabilities),
        )

    async def perform(self, action: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run one capability on plain JSON and return plain JSON.

        Raises:
            AgentStopped: the agent is not running.
            CapabilityError: unknown action, inputs that do not fit, or the capability's own refusal.
        """
        if self.status is AgentStatus.STOPPED:
            raise AgentStopped(f"agent {self.agent_id} is stopped")
        found = self._capabilities.get(action)
        if found is None:
            raise CapabilityError(
                f"{self.agent_type} has no action {action!r}; it has {', '.join(self.capabilities) or 'none'}",
                code="UnknownAction",
            )
        try:
            request = found.input_model.model_validate(inputs)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            text = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'inputs'}: {f['msg']}" for f in faults)
            raise CapabilityError(
                f"inputs of {action} do not fit: {text}", code="InvalidInputs", details=faults
            ) from error
        self._in_progress += 1
        self.status = AgentStatus.PROCESSING
        try:
            answer = await found.call(request) if found.is_async else await asyncio.to_thread(found.call, request)
        finally:
            self._in_progress -= 1
            # Stopping wins over becoming idle: a stop may have come while this work was in hand.
            if self._in_progress == 0 and self.status is AgentStatus.PROCESSING:
                self.status = AgentStatus.IDLE
        return _as_json(answer)

    # ---- messages

    async def process_message(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer a message. By default ``{"action": name, "inputs": {...}}`` runs that capability."""
        action = message.get("action")
        if not isinstance(action, str):
            raise CapabilityError(
                f"a message to {self.agent_id} needs an 'action', one of: {', '.join(self.capabilities)}",
                code="InvalidInputs",
            )
        return await self.perform(action, message.get("inputs") or {})

    async def send_message(self, target_agent_id: str, message: dict[str, Any]) -> str:
        """Send a message to another agent, wherever it runs; returns the message's id.

        Raises:
            AgentStopped: this agent is not connected to a bus.
            UnroutableMessage: no agent of that id has a queue.
        """
        return await self._connected().send(self.agent_id, target_agent_id, message)

    async def ask(self, target_agent_id: str, message: dict[str, Any], timeout: float = 30.0) -> dict[str, Any]:
        """Send a message and wait up to ``timeout`` seconds for the other agent's answer."""
        return await self._connected().ask(self.agent_id, target_agent_id, message, timeout)

    def _connected(self) -> Messenger:
        if self._messenger is None:
            raise AgentStopped(f"agent {self.agent_id} is not connected: start it with a messenger")
        return self._messenger


def _as_json(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, BaseModel):
        message = f"a capability returned {type(answer).__name__}, not a Pydantic model"
        raise CapabilityError(message, code="InvalidOutput")
    try:
        # Not model_dump's own JSON mode: it makes null of NaN, and nobody would see.
        return cast(dict[str, Any], to_jsonable_python(answer.model_dump(), inf_nan_mode="constants"))
    except ValueError as error:
        raise CapabilityError(f"the output is no JSON: {error}", code="InvalidOutput") from error
