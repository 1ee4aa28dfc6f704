"""BaseAgent: what every agent is. An agent type is a subclass with methods marked ``@capability``."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.agents import AgentDescriptor, AgentLimits, AgentRecord, AgentStatus
from contracts.envelope import Message
from contracts.registry import AgentFilter, AgentMail, AgentsFound, BroadcastMail, BroadcastSent, FindAgents
from services.runtime.agent.capability import BoundCapability, CapabilityError, bind, declared_on
from services.runtime.agent.config import config_schema
from services.runtime.agent.json_values import as_json
from services.runtime.agent.limits import Admission, Sizes, overlay
from services.runtime.agent.mail import BoundHandler, Mail, bind_handler, handlers_on
from services.runtime.agent.messenger import Messenger, NotGranted
from services.runtime.agent.negotiation import NEGOTIATION, Negotiator, split_bid
from services.runtime.agent.track_record import TrackRecord

A = TypeVar("A", bound=Message)

# The agents whose limits the calling work has passed already.
_admitted: ContextVar[tuple["BaseAgent", ...]] = ContextVar("admitted", default=())


class AgentStopped(RuntimeError):
    """The agent is not running, so it takes no work."""


class BaseAgent(Negotiator):
    """An agent: an id, a configuration, a status, capabilities, and handlers of messages.

    Subclasses set ``agent_type`` and declare capabilities (``@capability``) and handlers (``@on_message``); they may
    override ``on_start`` and ``on_stop`` for resources of their own, and ``process_message`` for messages that have no
    handler. Further class attributes that they may set:

    - ``config_model``: the Pydantic model of the configuration, which then is checked, and available as ``settings``.
    - ``fixed_config``: keys of the configuration that only the service sets and no agent that somebody creates.
    - ``limits``: what each agent of the type may use, unless AGENT_LIMITS or the agent itself says otherwise.

    Parameters:
        agent_id: unique among all agents; letters, digits, ``_`` and ``-``.
        config: this agent's own configuration. Its ``bid`` is what the agent bids in a contract net; ``own_config`` is
            all but that.

    Raises:
        pydantic.ValidationError: the configuration does not fit ``config_model``.
    """

    agent_type: ClassVar[str]
    config_model: ClassVar[type[BaseModel] | None] = None
    fixed_config: ClassVar[frozenset[str]] = frozenset()
    limits: ClassVar[AgentLimits] = AgentLimits()

    def __init__(self, agent_id: str, config: Mapping[str, Any] | None = None) -> None:
        self.agent_id = agent_id
        self.config: dict[str, Any] = dict(config or {})
        self.fixed_bid, self.own_config = split_bid(self.config, self.config_model)
        self.settings: Any = self.config_model.model_validate(self.own_config) if self.config_model else None
        self.status = AgentStatus.STOPPED
        self.track_record = TrackRecord()
        self._capabilities: dict[str, BoundCapability] = declared_on(self)
        self._handlers: dict[str, BoundHandler] = handlers_on(self)
        self._messenger: Messenger | None = None
        self._in_progress = 0
        self._why_not: Callable[[str], str] = _no_reason
        self.limit_by(AgentLimits())

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

    def _begin(self) -> None:
        if self.status in (AgentStatus.STOPPED, AgentStatus.ERROR):
            what = "is stopped" if self.status is AgentStatus.STOPPED else "could not start"
            raise AgentStopped(f"agent {self.agent_id} {what}")
        self._in_progress += 1
        self.status = AgentStatus.PROCESSING

    def _end(self) -> None:
        self._in_progress -= 1
        # Stopping wins over becoming idle: a stop may have come while this work was in hand.
        if self._in_progress == 0 and self.status is AgentStatus.PROCESSING:
            self.status = AgentStatus.IDLE

    # ---- capabilities

    @property
    def capabilities(self) -> list[str]:
        return sorted(self._capabilities)

    def get_capabilities(self) -> list[str]:
        """The names of the actions this agent offers."""
        return self.capabilities

    def offers(self, action: str) -> bool:
        return action in self._capabilities

    def register_capability(self, name: str, method: Callable[..., Any]) -> None:
        """Add a capability at run time; registering the same name again replaces it."""
        self._capabilities[name] = bind(name, method)
        self.limit_by(self._own_limits, self._places)

    @property
    def waits_for_others(self) -> bool:
        """Whether it has capabilities that wait for other agents."""
        return any(found.waits for found in self._capabilities.values())

    def describe(self) -> AgentDescriptor:
        return AgentDescriptor(
            agent_type=self.agent_type,
            description=(type(self).__doc__ or "").strip(),
            capabilities=tuple(self._capabilities[name].describe() for name in self.capabilities),
            message_types=self.message_types,
            config_schema=config_schema(self.config_model, self.fixed_config),
            limits=self.effective_limits,
        )

    async def perform(self, action: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run one capability on plain JSON and return plain JSON.

        Raises:
            AgentStopped: the agent is not running.
            CapabilityError: unknown action, one that is not granted (``NotGranted``), inputs that do not fit or are too
                large, an output that is, or the capability's own refusal.
        """
        self._begin()
        try:
            found = self._capabilities.get(action)
            if found is None:
                raise CapabilityError(
                    f"{self.agent_type} has no action {action!r}; it has {', '.join(self.capabilities) or 'none'}",
                    code="UnknownAction",
                )
            self.check_granted(action)
            self._sizes.check_input(action, inputs)
            request = _read(found, inputs)
            with self.track_record.measured(action):
                answer = await found(request)
            if not isinstance(answer, BaseModel):
                message = f"a capability returned {type(answer).__name__}, not a Pydantic model"
                raise CapabilityError(message, code="InvalidOutput")
            output = as_json(answer)
            self._sizes.check_output(action, output)
            return output
        finally:
            self._end()

    def grant_by(self, why_not: Callable[[str], str]) -> None:
        """The host's: ``why_not`` gives why the agent may not do an action, or nothing if it may."""
        self._why_not = why_not

    def check_granted(self, action: str) -> None:
        """
        Raises:
            NotGranted: the agent policy does not grant this agent's type the action.
        """
        reason = self._why_not(action)
        if reason:
            raise NotGranted(reason)

    # ---- limits

    @property
    def effective_limits(self) -> AgentLimits:
        """What this agent may use: its type's limits, and over them those that its host gave it."""
        return overlay(type(self).limits, self._own_limits)

    def limit_by(self, limits: AgentLimits, places: AbstractAsyncContextManager[Any] | None = None) -> None:
        """The host's: set limits over those of the type. ``places`` is what every step on the host has to pass."""
        self._own_limits, self._places = limits, places
        effective = self.effective_limits
        self._sizes = Sizes(effective)
        self._admission = Admission(effective, places, [c.name for c in self._capabilities.values() if c.waits])

    def admitted(self, action: str) -> AbstractAsyncContextManager[None]:
        """Wait until a step may begin by the limits of this agent and its host; they are used up to the end of the
        block. Work within it that asks once more passes at once."""
        return self._passing(self._admission.of_step(action))

    def place_for(self, action: str = "") -> AbstractAsyncContextManager[None]:
        """The same for work that came by message, which needs no place of the host."""
        return self._passing(self._admission.of_mail(action))

    def _passing(self, gates: AbstractAsyncContextManager[None]) -> AbstractAsyncContextManager[None]:
        if self._admission.unlimited:
            return gates  # nothing of this agent's own is held that could be asked for once more
        return nullcontext() if self in _admitted.get() else _marked(self, gates)

    # ---- messages that come

    @property
    def message_types(self) -> tuple[str, ...]:
        """The message types that this agent has handlers for, but for those that every agent has."""
        return tuple(sorted(self._handlers.keys() - self.common_message_types))

    def register_message_handler(self, message_type: str, handler: Callable[[Mail], Any]) -> None:
        """Handle messages of a type from now on, as ``@on_message`` does; registering it again replaces it."""
        self._handlers[message_type] = bind_handler(message_type, handler)

    async def receive(self, mail: Mail, timeout: float | None = None) -> dict[str, Any]:
        """Answer a message: by the handler of its type, otherwise by ``process_message``.

        Args:
            timeout: seconds that it may take from when the agent's limits let it begin.

        Raises:
            AgentStopped: the agent is not running.
            CapabilityError: nobody handles it, it is too large, it took too long (``Timeout``), or its handler's own.
        """
        handler = self._handlers.get(mail.message_type)
        action = mail.body.get("action")
        if handler is None and mail.message_type and action is None and not self._processes_anything:
            raise CapabilityError(
                f"{self.agent_id} has no handler for messages of type {mail.message_type!r}; it has handlers for"
                f" {', '.join(self.message_types) or 'none'}, and takes messages with an 'action', one of:"
                f" {', '.join(self.capabilities) or 'none'}",
                code="UnknownMessageType",
            )
        if mail.message_type in NEGOTIATION:
            return await self._in_time(mail, handler, timeout)
        gates = self._admission.of_mail(action if handler is None and isinstance(action, str) else "")
        async with self._passing(gates):
            return await self._in_time(mail, handler, timeout)

    async def process_message(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer a message that has no handler. By default ``{"action": name, "inputs": {...}}`` runs that action."""
        action = message.get("action")
        if not isinstance(action, str):
            raise CapabilityError(
                f"a message to {self.agent_id} needs an 'action', one of: {', '.join(self.capabilities) or 'none'}"
                f"; or a message type, one of: {', '.join(self.message_types) or 'none'}",
                code="InvalidInputs",
            )
        inputs = message.get("inputs") or {}
        if not isinstance(inputs, Mapping):
            raise CapabilityError(f"the inputs of {action} must be an object", code="InvalidInputs")
        async with self.place_for(action):
            return await self.perform(action, inputs)

    @property
    def _processes_anything(self) -> bool:
        return type(self).process_message is not BaseAgent.process_message

    async def _in_time(self, mail: Mail, handler: BoundHandler | None, timeout: float | None) -> dict[str, Any]:
        limit = asyncio.timeout(timeout)
        self._begin()
        try:
            async with limit:
                if handler is None:
                    return as_json(await self.process_message(mail.body))
                self._sizes.check_input("", mail.body)
                answer = await handler(mail)
                self._sizes.check_output("", answer)
                return answer
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"{self.agent_id} did not answer the message within {timeout:g} s"
            raise CapabilityError(message, code="Timeout", retryable=True) from None
        finally:
            self._end()

    # ---- messages that go

    async def send_message(self, target_agent_id: str, message: dict[str, Any], *, message_type: str = "") -> str:
        """Send a message to another agent, wherever it runs; returns the message's id. Fire and forget.

        Raises:
            NotGranted: the agent policy does not let agents of this type message that one.
            AgentStopped: this agent is not connected to a bus.
            UnroutableMessage: no agent of that id has a queue.
        """
        return await self._connected().send(self._mail(target_agent_id, message, message_type))

    async def ask(
        self,
        target_agent_id: str,
        message: dict[str, Any],
        *,
        message_type: str = "",
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Send a message and wait up to ``timeout`` seconds (None: AGENT_TIMEOUT) for the other agent's answer.

        Raises:
            AgentFailed: the other agent refused it, or failed until the limit of retries.
            ReplyTimeout: no answer in time.
            NotGranted, AgentStopped, UnroutableMessage: as for ``send_message``.
        """
        return await self._connected().ask(self._mail(target_agent_id, message, message_type), timeout)

    async def broadcast(
        self,
        message: dict[str, Any],
        *,
        message_type: str = "",
        agent_type: str | None = None,
        capability: str | None = None,
        statuses: tuple[AgentStatus, ...] | None = None,
    ) -> BroadcastSent:
        """Send a message to every agent that matches (None matches all) but this one; returns whom it went to, once
        each copy is in its agent's queue."""
        chosen = AgentFilter(agent_type=agent_type, capability=capability, statuses=statuses)
        mail = BroadcastMail(body=message, message_type=message_type, sender_id=self.agent_id, filter=chosen)
        return await self.request(mail, BroadcastSent)

    async def find_agents(
        self,
        *,
        agent_type: str | None = None,
        capability: str | None = None,
        statuses: tuple[AgentStatus, ...] | None = None,
        agent_ids: tuple[str, ...] | None = None,
        limit: int = 1_000,
    ) -> tuple[AgentRecord, ...]:
        """The agents that match (None matches all), by id, at most ``limit`` of them."""
        chosen = AgentFilter(agent_type=agent_type, capability=capability, statuses=statuses, agent_ids=agent_ids)
        return (await self.request(FindAgents(filter=chosen, limit=limit), AgentsFound)).agents

    async def request(self, command: Message, answer: type[A], timeout: float | None = None) -> A:
        """Send any command to the system and return its answer, within ``timeout`` seconds (None: AGENT_TIMEOUT).

        Raises:
            CommandRefused: it was refused.
            ReplyTimeout: no answer in time; whether it was acted upon is unknown.
            NotGranted: agents of this type may not send it.
            AgentStopped, UnroutableMessage: as for ``send_message``.
        """
        return await self._connected().request(command, answer, timeout)

    def _mail(self, agent_id: str, body: dict[str, Any], message_type: str) -> AgentMail:
        return AgentMail(agent_id=agent_id, body=body, message_type=message_type, sender_id=self.agent_id)

    def _connected(self) -> Messenger:
        if self._messenger is None:
            raise AgentStopped(f"agent {self.agent_id} is not connected: start it with a messenger")
        return self._messenger


def _no_reason(action: str) -> str:
    return ""


@asynccontextmanager
async def _marked(agent: BaseAgent, gates: AbstractAsyncContextManager[None]) -> AsyncIterator[None]:
    async with gates:
        token = _admitted.set((*_admitted.get(), agent))
        try:
            yield
        finally:
            # Closed from another context, which happens when a loop ends with work in hand, there is nothing to undo.
            with contextlib.suppress(ValueError):
                _admitted.reset(token)


def _read(found: BoundCapability, inputs: Mapping[str, Any]) -> BaseModel:
    try:
        return found.input_model.model_validate(inputs)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'inputs'}: {f['msg']}" for f in faults)
        message = f"inputs of {found.name} do not fit: {text}"
        raise CapabilityError(message, code="InvalidInputs", details=faults) from error
