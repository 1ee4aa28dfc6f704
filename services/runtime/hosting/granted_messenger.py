"""What an agent may send: its host holds it against the agent policy before anything leaves.

Where messages are signed, whoever receives them holds them against the same policy once more. Where they are not, this
is what keeps an agent to it, and it says which entry of the policy is missing.
"""

import time
from typing import Any, Protocol, TypeVar

from cachetools import TTLCache

from contracts.envelope import Message
from contracts.execution import CancelExecution, DescribeExecution, StartExecution
from contracts.registry import AgentFilter, AgentMail, AgentsFound, BroadcastMail, FindAgents
from services.runtime.agent.messenger import Messenger, NotGranted
from services.runtime.security.policy import AgentPolicy, may_message
from services.runtime.security.principal import ANY_TYPE, Principal, SenderKind
from services.runtime.security.senders import why_not

A = TypeVar("A", bound=Message)

_REMEMBERED = 60.0  # seconds: an agent may be deleted, and one of another type get its id


class MessengerOf(Protocol):
    """Gives the messenger for agents of a type."""

    def __call__(self, agent_type: str) -> Messenger: ...


def granted_messengers(messenger: Messenger, policy: AgentPolicy, service: str) -> MessengerOf:
    def messenger_of(agent_type: str) -> Messenger:
        return GrantedMessenger(messenger, policy, service, agent_type)

    return messenger_of


class GrantedMessenger:
    """A ``Messenger`` for agents of one type that sends what the policy grants them, and raises ``NotGranted`` for the
    rest."""

    def __init__(self, messenger: Messenger, policy: AgentPolicy, service: str, agent_type: str) -> None:
        self._messenger = messenger
        self._policy = policy
        self._agent_type = agent_type
        self._granted = frozenset(policy.grants_of(agent_type).message)
        may_start, _ = policy.rights_of((agent_type,))
        self._agent = Principal(
            service, SenderKind.AGENT, "", frozenset((agent_type,)), may_start=may_start, may_message=self._granted
        )
        self._types: TTLCache[str, str] = TTLCache(1_000, _REMEMBERED, timer=time.monotonic)

    async def send(self, mail: AgentMail) -> str:
        await self._check_mail(mail)
        return await self._messenger.send(mail)

    async def ask(self, mail: AgentMail, timeout: float | None = None) -> dict[str, Any]:
        await self._check_mail(mail)
        return await self._messenger.ask(mail, timeout)

    async def request(self, command: Message, answer: type[A], timeout: float | None = None) -> A:
        if isinstance(command, AgentMail):
            await self._check_mail(command)
        else:
            self._check_command(command)
        return await self._messenger.request(command, answer, timeout)

    async def _check_mail(self, mail: AgentMail) -> None:
        agent_id = mail.agent_id
        if may_message(self._granted, agent_id, agent_id):
            return
        # It may be an instance of a type that is granted: the registry knows.
        agent_type = await self._type_of(agent_id) if self._granted else ""
        if not may_message(self._granted, agent_id, agent_type):
            what = f"agent {agent_id!r}" + (f" of type {agent_type!r}" if agent_type else "")
            raise self._refused(f"send messages to {what}", f'message = [..., "{agent_type or agent_id}"]')

    async def _type_of(self, agent_id: str) -> str:
        """Nothing where the registry has no such agent."""
        known = self._types.get(agent_id)
        if known is not None:
            return known
        question = FindAgents(filter=AgentFilter(agent_ids=(agent_id,)), limit=1)
        found = (await self._messenger.request(question, AgentsFound)).agents
        if not found:
            return ""
        self._types[agent_id] = found[0].agent_type
        return found[0].agent_type

    def _check_command(self, command: Message) -> None:
        reason = why_not(self._agent, command)
        if reason:
            raise self._refused(f"send {command.TYPE} ({reason})", _entry_for(command))
        if isinstance(command, BroadcastMail) and not self._granted_broadcast(command.filter):
            what = "send a broadcast to more than it may message; name an agent_type, or agent_ids, that it may"
            raise self._refused(what, f'message = ["{command.filter.agent_type or ANY_TYPE}"]')

    def _granted_broadcast(self, to: AgentFilter) -> bool:
        if ANY_TYPE in self._granted or to.agent_type in self._granted:
            return True
        return to.agent_ids is not None and self._granted.issuperset(to.agent_ids)

    def _refused(self, what: str, entry: str) -> NotGranted:
        text = f"an agent of type {self._agent_type!r} may not {what}: {self._policy.source} does not grant it"
        return NotGranted(text + (f"; [agents.{self._agent_type}] {entry} would" if entry else ""))


def _entry_for(command: Message) -> str:
    """The entry of the policy without which an agent may not send this; nothing where no entry helps."""
    match command:
        case StartExecution() | CancelExecution() | DescribeExecution():
            return "start_workflows = true"
        case FindAgents() | BroadcastMail():
            return "message = [...]"
        case _:
            return ""
