"""Mail in a host: what is told on, what is kept, and what an agent may do to itself."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from contracts.envelope import wrap
from contracts.registry import AgentMail, AgentReply
from services.runtime.agent.base import BaseAgent
from services.runtime.agent.capability import CapabilityError
from services.runtime.agent.mail import Mail, on_message
from services.runtime.agent.messenger import Messenger
from services.runtime.bus.base import BusUnavailable, UnroutableMessage
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.agents import Agents
from services.runtime.hosting.mailroom import Mailroom
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.service import Received


class Patient(BaseAgent):
    agent_type = "patient"

    @on_message("do")
    async def do(self, mail: Mail) -> dict[str, Any]:
        match mail.body["what"]:
            case "cancel":
                raise asyncio.CancelledError
            case "exit":
                raise SystemExit(3)
            case "odd text":
                raise LookupError("bad \udc80 text")
            case "retryable":
                raise CapabilityError("not now", code="Busy", retryable=True)
            case "wait":
                await asyncio.sleep(60)
            case "pass on":
                await self.send_message("other", {})
        return {"done": mail.body["what"]}


class Letter:
    """A delivery that notes how it is settled."""

    def __init__(self, reply_to: str = "", signer: Principal | None = None, queue: str = "patient") -> None:
        self.reply_to = reply_to
        self.signer = signer
        self.queue = queue
        self.headers: dict[str, str] = {}
        self.settled: list[tuple[str, ...]] = []

    async def ack(self) -> None:
        self.settled.append(("ack",))

    async def retry(self) -> None:
        self.settled.append(("retry",))

    async def dead_letter(self, reason: str, detail: str) -> None:
        self.settled.append(("dead", reason, detail))


class Sent:
    """An outbox that keeps what it is given, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.outgoing: list[Outgoing[Any]] = []
        self._error = error

    async def send(self, outgoing: Iterable[Outgoing[Any]]) -> None:
        if self._error is not None:
            raise self._error
        self.outgoing += outgoing


async def take(
    what: str,
    *,
    reply_to: str = "",
    retry_count: int = 0,
    error: Exception | None = None,
    timeout: float = 5.0,
    agent_id: str = "patient",
    messenger: Messenger | None = None,
    signer: Principal | None = None,
    queue: str = "patient",
) -> tuple[list[Outgoing[Any]], list[tuple[str, ...]]]:
    agents = Agents([Patient("patient")], lambda agent_type: messenger)  # type: ignore[arg-type]
    await agents.start()
    outbox, letter = Sent(error), Letter(reply_to, signer, queue)
    mail = AgentMail(agent_id=agent_id, body={"what": what}, message_type="do", sender_id="bob")
    envelope = wrap(mail, sender="there", correlation_id="c1", message_id="m1", retry_count=retry_count)
    received: Received[AgentMail] = Received(envelope, letter)  # type: ignore[arg-type]
    await Mailroom(agents, outbox, timeout=timeout, retries=3).take(received)  # type: ignore[arg-type]
    await agents.stop()
    return outbox.outgoing, letter.settled


@pytest.mark.parametrize("what", ["cancel", "exit", "odd text", "retryable"])
async def test_whatever_an_agent_does_to_itself_its_message_is_tried_again(what: str) -> None:
    (again,), settled = await take(what, reply_to="r", retry_count=1)
    assert settled == [("ack",)]
    assert (again.message_id, again.retry_count, again.reply_to) == ("m1", 2, "r")
    assert (again.correlation_id, again.sender) == ("c1", "there")
    assert again.message.sender_id == "bob"


async def test_after_the_last_try_the_reason_can_be_sent() -> None:
    (reply,), settled = await take("odd text", reply_to="r", retry_count=3)
    assert isinstance(reply.message, AgentReply)
    assert (reply.message.code, reply.message.error) == ("LookupError", "bad ? text")
    assert reply.message.model_dump_json()
    assert settled == [("dead", "agent-failed", "LookupError: bad ? text (after 3 retries)")]


async def test_an_answer_that_nobody_waits_for_is_not_sent() -> None:
    assert await take("well") == ([], [("ack",)])


async def test_a_time_limit_is_a_failure_like_others() -> None:
    (again,), settled = await take("wait", timeout=0.02)
    assert (again.retry_count, settled) == (1, [("ack",)])


async def test_mail_for_an_agent_that_is_not_here_is_tried_again() -> None:
    (again,), _ = await take("well", agent_id="ghost")
    assert again.retry_count == 1


async def test_a_retry_of_a_removed_agents_mail_is_a_dead_letter_that_says_so() -> None:
    error = UnroutableMessage(AgentMail(agent_id="a", body={}).address(), "agent.mail.v1")
    outgoing, settled = await take("retryable", error=error)
    assert outgoing == []
    assert [one[:2] for one in settled] == [("dead", "agent-removed")]


async def test_mail_is_not_settled_while_its_retry_cannot_be_published() -> None:
    with pytest.raises(BusUnavailable):
        await take("retryable", error=BusUnavailable("away"))


async def test_a_host_that_stops_leaves_the_message_to_another() -> None:
    task = asyncio.create_task(take("wait"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_an_agent_sends_belongs_to_the_request_that_it_works_on() -> None:
    from services.runtime.hosting.bus_messenger import BusMessenger

    outbox = Sent()
    messenger = BusMessenger(outbox, None, 5.0)  # type: ignore[arg-type]
    await take("pass on", messenger=messenger)
    (passed_on,) = outbox.outgoing
    assert (passed_on.correlation_id, passed_on.message.agent_id) == ("c1", "other")


# ---- who may write to an agent, where messages are signed


def host_of(*types: str, may: tuple[str, ...] = ()) -> Principal:
    return Principal("some", SenderKind.AGENT, "k", frozenset(types), may_message=frozenset(may))


EDGE = Principal("edge", SenderKind.SERVICE, "k")
REGISTRY = Principal("registry", SenderKind.SERVICE, "k")


@pytest.mark.parametrize(
    "signer", [EDGE, REGISTRY, host_of("clerk", may=("patient",)), host_of("clerk", may=("*",)), None]
)
async def test_who_may_write_to_an_agent_is_answered(signer: Principal | None) -> None:
    (reply,), settled = await take("well", reply_to="r", signer=signer)
    assert (reply.message.body, settled) == ({"done": "well"}, [("ack",)])


@pytest.mark.parametrize("signer", [host_of("clerk"), host_of("clerk", may=("other",)), host_of("patient")])
async def test_who_may_not_is_told_so_and_the_agent_never_sees_it(signer: Principal) -> None:
    (reply,), settled = await take("well", reply_to="r", signer=signer)
    assert (reply.message.body, reply.message.code) == (None, "Forbidden")
    assert "agent some" in reply.message.error
    assert [one[:2] for one in settled] == [("dead", "forbidden-sender")]


async def test_mail_that_its_own_host_tries_again_is_taken() -> None:
    (reply,), settled = await take("well", reply_to="r", retry_count=1, signer=host_of("patient"))
    assert (reply.message.body, settled) == ({"done": "well"}, [("ack",)])


async def test_nobody_else_gets_in_by_calling_it_a_retry() -> None:
    signer = host_of("clerk", may=("patient", "*"))
    outgoing, settled = await take("well", retry_count=1, signer=signer)
    assert (outgoing, [one[:2] for one in settled]) == ([], [("dead", "forbidden-sender")])


async def test_forbidden_mail_for_an_instance_that_is_not_here_yet_is_not_tried_again_in_this_hosts_name() -> None:
    outgoing, settled = await take("well", agent_id="ghost", signer=host_of("clerk"), queue="patient.agent.ghost")
    assert (outgoing, [one[:2] for one in settled]) == ([], [("dead", "forbidden-sender")])
    (again,), _ = await take(
        "well", agent_id="ghost", signer=host_of("clerk", may=("patient",)), queue="patient.agent.ghost"
    )
    assert again.retry_count == 1
