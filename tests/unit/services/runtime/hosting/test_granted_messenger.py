"""What an agent may send: what the policy grants its type, and a clear error for the rest."""

from typing import Any

import pytest

from contracts.agents import AgentRecord
from contracts.envelope import Message
from contracts.execution import CancelExecution, DescribeExecution, StartExecution
from contracts.registry import (
    AgentFilter,
    AgentMail,
    AgentsFound,
    BroadcastMail,
    CreateAgent,
    DeleteAgent,
    FindAgents,
)
from contracts.workflow import CreateWorkflow
from services.runtime.agent import CapabilityError, NotGranted
from services.runtime.hosting.granted_messenger import granted_messengers
from services.runtime.security.policy import AgentPolicy, Grants

POLICY = AgentPolicy(
    source="the test's policy",
    agents={
        "boss": Grants(start_workflows=True, message=("*",)),
        "clerk": Grants(message=("baker", "ann")),
        "mute": Grants(capabilities=("*",)),
    },
)


class Wire:
    """A messenger that keeps what it is given; its registry knows some bakers and a butcher."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.types = {"bob": "baker", "bill": "butcher"}
        self.questions = 0

    async def send(self, mail: AgentMail) -> str:
        self.sent.append(mail)
        return "id"

    async def ask(self, mail: AgentMail, timeout: float | None = None) -> dict[str, Any]:
        self.sent.append(mail)
        return {}

    async def request(self, command: Message, answer: type[Any], timeout: float | None = None) -> Any:
        if isinstance(command, FindAgents) and command.filter.agent_ids is not None and command.limit == 1:
            self.questions += 1
            found = [one for one in command.filter.agent_ids if one in self.types]
            records = (AgentRecord(agent_id=one, agent_type=self.types[one], created_at=1.0) for one in found)
            return AgentsFound(agents=tuple(records))
        self.sent.append(command)
        return answer.model_construct()


def mail(agent_id: str) -> AgentMail:
    return AgentMail(agent_id=agent_id, body={})


async def refused(agent_type: str, message: Message, *, wire: Wire | None = None) -> str:
    wire = wire or Wire()
    messenger = granted_messengers(wire, POLICY, "host")(agent_type)
    with pytest.raises(NotGranted) as caught:
        await messenger.request(message, AgentsFound)
    assert wire.sent == []
    assert isinstance(caught.value, CapabilityError)
    assert (caught.value.code, caught.value.retryable) == ("NotGranted", False)
    assert "the test's policy" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("agent_id", ["baker", "ann", "bob"])
async def test_mail_to_whom_a_type_may_message_goes(agent_id: str) -> None:
    wire = Wire()
    messenger = granted_messengers(wire, POLICY, "host")("clerk")
    await messenger.send(mail(agent_id))
    await messenger.ask(mail(agent_id))
    assert wire.sent == [mail(agent_id)] * 2
    assert wire.questions == (1 if agent_id == "bob" else 0), "the type of an agent is asked for once"


@pytest.mark.parametrize("agent_id", ["bill", "butcher", "clerk", "nobody"])
async def test_mail_to_others_is_refused_by_the_entry_that_is_missing(agent_id: str) -> None:
    wire = Wire()
    messenger = granted_messengers(wire, POLICY, "host")("clerk")
    for send in (messenger.send, messenger.ask):
        with pytest.raises(NotGranted, match=r"\[agents\.clerk\] message = ") as caught:
            await send(mail(agent_id))
        assert repr(agent_id) in str(caught.value)
    assert wire.sent == []


async def test_who_may_message_nobody_asks_nobody() -> None:
    wire = Wire()
    assert "[agents.mute] message" in await refused("mute", mail("bob"), wire=wire)
    assert wire.questions == 0
    assert "message = [...]" in await refused("mute", FindAgents())
    assert "message = [...]" in await refused("mute", BroadcastMail(body={}))


async def test_workflows_are_started_by_those_that_may() -> None:
    commands: list[Message] = [
        StartExecution(execution_id="delegate-1-ab", workflow_id="w", client="delegate:1:e"),
        CancelExecution(execution_id="delegate-1-ab"),
        DescribeExecution(execution_id="delegate-1-ab"),
    ]
    wire = Wire()
    for command in commands:
        await granted_messengers(wire, POLICY, "host")("boss").request(command, AgentsFound)
        assert "[agents.clerk] start_workflows = true" in await refused("clerk", command)
    assert wire.sent == commands


async def test_what_goes_to_another_address_is_the_same_command() -> None:
    """Delegation starts by a class of its own, for a key of its own."""

    class Elsewhere(StartExecution):
        pass

    command = Elsewhere(execution_id="delegate-1-ab", workflow_id="w", client="delegate:1:e")
    wire = Wire()
    await granted_messengers(wire, POLICY, "host")("boss").request(command, AgentsFound)
    assert wire.sent == [command]
    await refused("clerk", command)


async def test_a_broadcast_goes_only_to_those_that_may_be_messaged() -> None:
    wire = Wire()
    granted: list[Message] = [
        BroadcastMail(body={}, filter=AgentFilter(agent_type="baker")),
        BroadcastMail(body={}, filter=AgentFilter(agent_ids=("ann",))),
    ]
    for message in granted:
        await granted_messengers(wire, POLICY, "host")("clerk").request(message, AgentsFound)
    await granted_messengers(wire, POLICY, "host")("boss").request(BroadcastMail(body={}), AgentsFound)
    assert wire.sent == [*granted, BroadcastMail(body={})]
    for filter in (AgentFilter(), AgentFilter(agent_type="butcher"), AgentFilter(agent_ids=("ann", "bill"))):
        assert "agent_type" in await refused("clerk", BroadcastMail(body={}, filter=filter))


async def test_an_agent_commands_nothing_that_is_not_an_agents_to_command() -> None:
    for command in (
        DeleteAgent(agent_id="bob"),
        CreateAgent(agent_type="clerk"),
        CreateWorkflow(workflow_id="w", definition={}),
    ):
        await refused("boss", command)
    wire = Wire()
    await granted_messengers(wire, POLICY, "host")("boss").request(CreateAgent(agent_type="boss"), AgentsFound)
    assert wire.sent == [CreateAgent(agent_type="boss")]
