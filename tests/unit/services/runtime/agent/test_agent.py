"""BaseAgent: lifecycle, capabilities, messages."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from contracts.agents import AgentLimits, AgentStatus, CapabilityLimits
from contracts.envelope import Message
from contracts.registry import AgentMail, AgentsFound, BroadcastMail, BroadcastSent, FindAgents
from services.data_agent.agent import DataAgent
from services.decision_agent.agent import DecisionAgent
from services.runtime.agent.base import AgentStopped, BaseAgent
from services.runtime.agent.capability import CapabilityDeclarationError, CapabilityError, capability
from services.runtime.agent.config import check_not_fixed, config_faults
from services.runtime.agent.mail import Mail, on_message


class Numbers(BaseModel):
    values: list[float]


class Sum(BaseModel):
    total: float


class Calculator(BaseAgent):
    """Adds numbers."""

    agent_type = "calculator"

    def __init__(self, agent_id: str, config: dict[str, Any] | None = None) -> None:
        super().__init__(agent_id, config)
        self.opened = 0
        self.go_on = asyncio.Event()

    async def on_start(self) -> None:
        if self.config.get("broken"):
            raise OSError("no such resource")
        self.opened += 1

    async def on_stop(self) -> None:
        self.opened -= 1

    @capability("add")
    def add(self, request: Numbers) -> Sum:
        """Add numbers."""
        return Sum(total=sum(request.values))

    @capability("wait_and_add")
    async def wait_and_add(self, request: Numbers) -> Sum:
        await self.go_on.wait()
        return Sum(total=sum(request.values))


async def test_base_agent_lifecycle() -> None:
    agent = Calculator("c1", {"unit": "EUR"})
    assert (agent.agent_id, agent.config, agent.status) == ("c1", {"unit": "EUR"}, AgentStatus.STOPPED)
    await agent.start()
    assert agent.status is AgentStatus.IDLE
    work = asyncio.create_task(agent.perform("wait_and_add", {"values": [1, 2]}))
    await asyncio.sleep(0)
    assert agent.status is AgentStatus.PROCESSING
    agent.go_on.set()
    assert await work == {"total": 3}
    assert agent.status is AgentStatus.IDLE
    await agent.stop()
    assert agent.status is AgentStatus.STOPPED


async def test_agent_start_stop() -> None:
    agent = Calculator("c1")
    await agent.start()
    await agent.start()
    assert agent.opened == 1
    await agent.stop()
    await agent.stop()
    assert agent.opened == 0
    with pytest.raises(AgentStopped, match="c1"):
        await agent.perform("add", {"values": [1]})


async def test_an_agent_that_cannot_start_is_in_error() -> None:
    agent = Calculator("c1", {"broken": True})
    with pytest.raises(OSError, match="no such resource"):
        await agent.start()
    assert agent.status is AgentStatus.ERROR
    with pytest.raises(AgentStopped, match="c1 could not start"):
        await agent.perform("add", {"values": [1]})
    assert agent.status is AgentStatus.ERROR


async def test_stopping_wins_over_becoming_idle() -> None:
    agent = Calculator("c1")
    await agent.start()
    work = asyncio.create_task(agent.perform("wait_and_add", {"values": []}))
    await asyncio.sleep(0)
    await agent.stop()
    agent.go_on.set()
    await work
    assert agent.status is AgentStatus.STOPPED


async def test_agent_message_processing() -> None:
    agent = Calculator("c1")
    await agent.start()
    assert await agent.process_message({"action": "add", "inputs": {"values": [1, 2, 3]}}) == {"total": 6}
    with pytest.raises(CapabilityError, match="needs an 'action', one of: add, wait_and_add"):
        await agent.process_message({"hello": "world"})
    with pytest.raises(CapabilityError, match="has no action 'subtract'; it has add, wait_and_add"):
        await agent.process_message({"action": "subtract"})
    with pytest.raises(CapabilityError, match=r"inputs of add do not fit: values\.1") as refusal:
        await agent.process_message({"action": "add", "inputs": {"values": [1, "x"]}})
    assert (refusal.value.code, refusal.value.retryable) == ("InvalidInputs", False)


async def test_agent_capabilities() -> None:
    agent = Calculator("c1")
    assert agent.get_capabilities() == ["add", "wait_and_add"]

    def halve(request: Sum) -> Sum:
        return Sum(total=request.total / 2)

    agent.register_capability("halve", halve)
    await agent.start()
    assert agent.capabilities == ["add", "halve", "wait_and_add"]
    assert await agent.perform("halve", {"total": 8}) == {"total": 4}
    descriptor = agent.describe()
    assert (descriptor.agent_type, descriptor.description) == ("calculator", "Adds numbers.")
    add = descriptor.capability("add")
    assert add is not None
    assert add.description == "Add numbers."
    assert add.input_schema["required"] == ["values"]
    assert add.output_schema["properties"]["total"]["type"] == "number"


def test_a_capability_must_say_what_it_takes_and_gives() -> None:
    class Vague(BaseAgent):
        agent_type = "vague"

        @capability("guess")
        def guess(self, request: dict) -> Sum:  # type: ignore[type-arg]
            raise NotImplementedError

    with pytest.raises(CapabilityDeclarationError, match=r"Vague\.guess \(capability 'guess'\) must take exactly one"):
        Vague("v")


async def test_sending_without_a_connection_is_refused_by_name() -> None:
    with pytest.raises(AgentStopped, match="c1 is not connected"):
        await Calculator("c1").send_message("c2", {})


# ---- configuration


class ScaleConfig(BaseModel):
    unit: str = "kg"
    weights: list[float] = Field(default_factory=list)
    folder: str


class Scale(BaseAgent):
    agent_type = "scale"
    config_model = ScaleConfig
    fixed_config = frozenset({"folder"})

    @on_message("weigh")
    def weigh(self, mail: Mail) -> dict[str, Any]:
        return {"kg": mail.body["kg"], "unit": self.settings.unit}


def test_a_configuration_is_checked_by_the_model_of_its_type() -> None:
    assert Scale("s", {"folder": "/x", "unit": "t"}).settings == ScaleConfig(folder="/x", unit="t")
    with pytest.raises(ValidationError) as refusal:
        Scale("s", {"weights": [1, "heavy"], "folder": "/x"})
    (fault,) = config_faults(refusal.value)
    assert (fault.path, fault.code) == ("config.weights[1]", "float_parsing")
    schema = Scale("s", {"folder": "/x"}).describe().config_schema
    assert schema is not None
    assert sorted(schema["properties"]) == ["unit", "weights"]
    assert schema["required"] == []
    assert Calculator("c").describe().config_schema is None


def test_what_only_the_service_may_set_is_refused_in_an_agents_own_configuration() -> None:
    check_not_fixed({"unit": "t"}, Scale.fixed_config, "scale")
    with pytest.raises(CapabilityError, match="folder of a scale is set by its service") as refusal:
        check_not_fixed({"unit": "t", "folder": "/etc"}, Scale.fixed_config, "scale")
    assert [(fault.path, fault.code) for fault in config_faults(refusal.value)] == [("config.folder", "fixed")]
    own = DataAgent("d").describe().config_schema
    assert own is not None
    assert {"data_folder", "memory_limit_mb", "threads", "workers"}.isdisjoint(own["properties"])
    assert "max_output_rows" in own["properties"]


def test_a_refusal_of_an_agents_own_kind_has_paths_too() -> None:
    with pytest.raises(CapabilityError) as refusal:
        DecisionAgent("d", {"method": "topsis", "weights": {"price": "much"}})
    paths = [fault.path for fault in config_faults(refusal.value)]
    assert paths
    assert all(path.startswith("config.weights") for path in paths)
    (fault,) = config_faults(OSError("no such file"))
    assert (fault.path, fault.code, fault.message) == ("config", "OSError", "no such file")


# ---- handlers of messages


class Clerk(BaseAgent):
    agent_type = "clerk"
    limits = AgentLimits(max_input_bytes=200, capabilities={"file": CapabilityLimits(concurrency=1)})

    def __init__(self, agent_id: str, config: dict[str, Any] | None = None) -> None:
        super().__init__(agent_id, config)
        self.go_on = asyncio.Event()
        self.begun = 0

    @capability("file")
    async def file(self, request: Numbers) -> Sum:
        self.begun += 1
        await self.go_on.wait()
        return Sum(total=sum(request.values))

    @on_message("greet")
    async def greet(self, mail: Mail) -> dict[str, Any]:
        return {"hello": mail.sender_id, "id": mail.message_id, "retries": mail.retry_count}

    @on_message("add")
    def add(self, mail: Mail) -> Sum:
        return Sum(total=sum(mail.body["values"]))

    @on_message("forget")
    def forget(self, mail: Mail) -> None:
        del mail

    @on_message("mumble")
    def mumble(self, mail: Mail) -> str:
        return "mumble"

    @on_message("wait")
    async def wait(self, mail: Mail) -> None:
        await self.go_on.wait()

    @on_message("file twice")
    async def file_twice(self, mail: Mail) -> dict[str, Any]:
        request = {"action": "file", "inputs": mail.body}
        return {"first": await self.process_message(request), "second": await self.process_message(request)}


async def clerk() -> Clerk:
    agent = Clerk("c1")
    await agent.start()
    return agent


async def test_a_message_meets_the_handler_of_its_type() -> None:
    agent = await clerk()
    mail = Mail({}, "greet", sender_id="bob", message_id="m1", retry_count=2)
    assert await agent.receive(mail) == {"hello": "bob", "id": "m1", "retries": 2}
    assert await agent.receive(Mail({"values": [1, 2]}, "add")) == {"total": 3}
    assert await agent.receive(Mail({}, "forget")) == {}
    assert agent.describe().message_types == ("add", "file twice", "forget", "greet", "mumble", "wait")


async def test_handlers_are_registered_at_run_time() -> None:
    agent = await clerk()
    agent.register_message_handler("shout", lambda mail: {"text": mail.body["text"].upper()})
    agent.register_message_handler("greet", lambda mail: {"bye": mail.sender_id})
    assert await agent.receive(Mail({"text": "x"}, "shout")) == {"text": "X"}
    assert await agent.receive(Mail({}, "greet", sender_id="bob")) == {"bye": "bob"}
    with pytest.raises(CapabilityDeclarationError, match="must take exactly one argument"):
        agent.register_message_handler("odd", lambda mail, more: {})
    with pytest.raises(CapabilityDeclarationError, match="needs a message type with a name"):
        agent.register_message_handler("", lambda mail: {})


async def test_a_message_without_a_handler_runs_its_action_or_is_refused_with_what_is_allowed() -> None:
    agent = await clerk()
    agent.go_on.set()
    order = {"action": "file", "inputs": {"values": [1, 2]}}
    assert await agent.receive(Mail(order)) == {"total": 3}
    assert await agent.receive(Mail(order, "order")) == {"total": 3}
    with pytest.raises(
        CapabilityError, match="no handler for messages of type 'riddle'; it has handlers for add,"
    ) as no:
        await agent.receive(Mail({}, "riddle"))
    assert "with an 'action', one of: file" in str(no.value)
    assert (no.value.code, no.value.retryable) == ("UnknownMessageType", False)
    with pytest.raises(CapabilityError, match="the inputs of file must be an object"):
        await agent.receive(Mail({"action": "file", "inputs": [1]}))


async def test_who_overrides_process_message_gets_every_message_that_has_no_handler() -> None:
    class Listener(Clerk):
        async def process_message(self, message: dict[str, Any]) -> dict[str, Any]:
            return {"heard": message}

    agent = Listener("l")
    await agent.start()
    assert await agent.receive(Mail({"x": 1}, "riddle")) == {"heard": {"x": 1}}
    assert "hello" in await agent.receive(Mail({}, "greet"))


async def test_what_a_handler_returns_must_be_an_answer() -> None:
    with pytest.raises(CapabilityError, match="'mumble' returned str, not a dict") as refusal:
        await (await clerk()).receive(Mail({}, "mumble"))
    assert refusal.value.code == "InvalidOutput"


async def test_a_message_that_takes_too_long_may_be_tried_again() -> None:
    agent = await clerk()
    with pytest.raises(CapabilityError, match=r"c1 did not answer the message within 0\.05 s") as refusal:
        await agent.receive(Mail({}, "wait"), timeout=0.05)
    assert (refusal.value.code, refusal.value.retryable) == ("Timeout", True)
    assert agent.status is AgentStatus.IDLE


async def test_handling_messages_is_work_and_a_stopped_agent_does_none() -> None:
    agent = await clerk()
    tasks = [asyncio.create_task(agent.receive(Mail({}, "wait"))) for _ in range(2)]
    await asyncio.sleep(0)
    assert agent.status is AgentStatus.PROCESSING
    agent.go_on.set()
    await asyncio.gather(*tasks)
    assert agent.status is AgentStatus.IDLE
    await agent.stop()
    with pytest.raises(AgentStopped):
        await agent.receive(Mail({}, "wait"))


# ---- limits


async def test_the_limits_of_an_agent_hold_for_steps_and_messages_together() -> None:
    agent = await clerk()

    async def step() -> None:
        async with agent.admitted("file"):
            await agent.perform("file", {"values": []})

    tasks = [asyncio.create_task(step()) for _ in range(2)]
    tasks.append(asyncio.create_task(agent.receive(Mail({"action": "file", "inputs": {"values": []}}))))
    for _ in range(20):
        await asyncio.sleep(0)
    assert agent.begun == 1
    agent.go_on.set()
    await asyncio.gather(*tasks)
    assert agent.begun == 3


async def test_waiting_for_the_limits_is_no_part_of_the_time_for_an_answer() -> None:
    agent = await clerk()
    order = Mail({"action": "file", "inputs": {"values": []}})
    first = asyncio.create_task(agent.receive(order))
    await asyncio.sleep(0)
    second = asyncio.create_task(agent.receive(order, timeout=4.0))  # which it may well take, once it has its turn
    await asyncio.sleep(4.2)
    agent.go_on.set()
    assert (await first, await second) == ({"total": 0}, {"total": 0})


async def test_work_that_was_let_in_does_not_wait_for_itself() -> None:
    agent = await clerk()
    agent.limit_by(AgentLimits(concurrency=1))
    agent.go_on.set()
    async with asyncio.timeout(5):
        answer = await agent.receive(Mail({"values": [2]}, "file twice"))
    assert answer == {"first": {"total": 2}, "second": {"total": 2}}


async def test_sizes_of_inputs_outputs_and_messages_are_limited() -> None:
    agent = await clerk()
    agent.go_on.set()
    assert agent.describe().limits.max_input_bytes == 200
    with pytest.raises(CapabilityError, match="the inputs of file are 412 bytes; at most 200 are allowed"):
        await agent.perform("file", {"values": [1] * 200})
    with pytest.raises(CapabilityError, match="the inputs of a message are 412 bytes; at most 200 are allowed"):
        await agent.receive(Mail({"values": [1] * 200}, "add"))
    agent.limit_by(AgentLimits(max_input_bytes=1_000, max_output_bytes=5))
    with pytest.raises(CapabilityError, match=r"the output of file is \d+ bytes; at most 5 are allowed") as refusal:
        await agent.perform("file", {"values": [1] * 200})
    assert refusal.value.code == "OutputTooLarge"


# ---- messages that go


class Wire:
    """A messenger that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.timeouts: list[float | None] = []

    async def send(self, mail: AgentMail) -> str:
        self.sent.append(mail)
        return "m1"

    async def ask(self, mail: AgentMail, timeout: float | None = None) -> dict[str, Any]:
        self.sent.append(mail)
        self.timeouts.append(timeout)
        return {"answer": 42}

    async def request(self, command: Message, answer: type[Any], timeout: float | None = None) -> Any:
        self.sent.append(command)
        self.timeouts.append(timeout)
        return BroadcastSent(broadcast_id="b", agent_ids=("x",)) if answer is BroadcastSent else AgentsFound(agents=())


async def test_agent_send_message() -> None:
    agent, wire = Clerk("c1"), Wire()
    await agent.start(wire)
    assert await agent.send_message("c2", {"x": 1}, message_type="greet") == "m1"
    assert await agent.ask("c2", {"x": 2}) == {"answer": 42}
    assert await agent.ask("c2", {"x": 2}, timeout=3) == {"answer": 42}
    sent = await agent.broadcast({"x": 3}, message_type="greet", capability="file", statuses=(AgentStatus.IDLE,))
    assert sent.agent_ids == ("x",)
    assert await agent.find_agents(agent_type="clerk", limit=5) == ()
    first, second, _, third, fourth = wire.sent
    assert first == AgentMail(agent_id="c2", body={"x": 1}, message_type="greet", sender_id="c1")
    assert second == AgentMail(agent_id="c2", body={"x": 2}, sender_id="c1")
    assert isinstance(third, BroadcastMail)
    assert (third.sender_id, third.filter.capability, third.filter.statuses) == ("c1", "file", (AgentStatus.IDLE,))
    assert isinstance(fourth, FindAgents)
    assert (fourth.filter.agent_type, fourth.limit) == ("clerk", 5)
    assert wire.timeouts == [None, 3, None, None]
