"""What could not be handled is kept, and comes back or goes for good: the same over every bus."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from contracts import topology
from contracts.dead_letters import DeadLetter, DeadLetterSettled, DiscardDeadLetter, ReplayDeadLetter
from contracts.envelope import Message, new_id, wrap
from contracts.execution import Refused
from contracts.registry import AgentMail
from contracts.topology import Queue, QueueKind
from services.dead_letters.app import build
from services.orchestrator.crashed import undelivered_mail
from services.runtime.bus.base import Delivery, Frame
from services.runtime.envelope_codec import Outgoing
from services.runtime.requests import Requests
from services.runtime.service import Route, Service
from services.runtime.settings import Settings
from services.runtime.store.base import DeadLetterFilter, Page, StoreUnavailable, Unstorable
from tests.support.buses import PATIENCE, Inbox, World, frame
from tests.support.memory_store import MemoryStore

OWN_NAMES = False


class Letters:
    """The service, its store, and somebody who gives it commands. The queue it takes from is of the whole broker, so a
    test looks at letters of its own messages only."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = MemoryStore()

    async def start(self) -> None:
        self.bus = self.world.bus()
        self._requests = Requests(self.bus, self.world.name("client"))
        await self.bus.start()
        self.service = build(Settings(), self.world.bus(), self.store)
        await self.service.start()
        self.world.queues += [topology.dead_letter_commands(), topology.unstorable_letters()]

    async def stop(self) -> None:
        await self.service.stop()
        await self._requests.stop()

    async def ask(self, message: Message) -> Message:
        return await self._requests.ask(Outgoing(message), PATIENCE)

    async def refused(self, message: Message, code: str) -> str:
        answer = await self.ask(message)
        assert isinstance(answer, Refused), answer
        assert answer.code == code, answer
        return answer.message

    async def of(self, message_id: str, count: int = 1) -> list[DeadLetter]:
        """The letters of one message, once there are so many, latest first."""

        async def found() -> list[DeadLetter] | None:
            letters, _ = await self.store.list_dead_letters(DeadLetterFilter(), Page(1_000))
            ours = [letter for letter in letters if letter.message_id == message_id]
            return ours if len(ours) >= count else None

        letters: list[DeadLetter] = await until(found)
        assert len(letters) == count
        return letters

    async def refusing(self, name: str, reason: str = "contract", **queue: Any) -> tuple[Queue, Inbox]:
        """A queue whose reader moves everything to the dead letters."""

        async def refuse(delivery: Delivery) -> None:
            await delivery.dead_letter(reason, f"refused in {name}")

        inbox = Inbox(refuse)
        made = self.world.queue(name, **queue)
        await self.bus.subscribe(made, inbox, prefetch=10).start()
        return made, inbox


async def until(question: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (answer := await question()):
            await asyncio.sleep(0.01)
    return answer


@pytest.fixture
async def letters(world: World) -> AsyncIterator[Letters]:
    letters = Letters(world)
    await letters.start()
    yield letters
    await letters.stop()


async def test_a_dead_letter_is_kept_with_its_story(letters: Letters, world: World) -> None:
    queue, _ = await letters.refusing("work")
    message_id = new_id()
    sent = frame(world.key(), "ä", message_id=message_id, correlation_id="c", reply_to="r", headers={"trace": "t"})
    await letters.bus.publish([sent])
    (letter,) = await letters.of(message_id)
    assert (letter.reason, letter.detail, letter.queue) == ("contract", "refused in work", queue.name)
    assert (letter.exchange, letter.routing_key) == ("conclave.commands", world.name("work"))
    assert (letter.type, letter.correlation_id, letter.reply_to) == ("test.message.v1", "c", "r")
    assert (letter.headers, letter.body, letter.encoded, letter.size) == ({"trace": "t"}, "ä", False, 2)


async def test_a_replayed_letter_goes_where_it_was_first_published_to(letters: Letters, world: World) -> None:
    _, inbox = await letters.refusing("work")
    message_id = new_id()
    body = bytes(range(256))
    await letters.bus.publish([Frame(world.key(), body, "t.v1", message_id, reply_to="r", headers={"trace": "t"})])
    (first,) = await letters.of(message_id)
    assert first.encoded is True
    assert await letters.ask(ReplayDeadLetter(id=first.id)) == DeadLetterSettled(id=first.id, replayed=True)
    _, again = await inbox.wait_for(2)
    assert (again.body, again.type, again.message_id, again.reply_to) == (body, "t.v1", message_id, "")
    (second,) = await until(lambda: _other_than(letters, message_id, first.id))
    assert (second.headers, second.body, second.queue) == (first.headers, first.body, first.queue)
    assert "may have been settled" in await letters.refused(ReplayDeadLetter(id=first.id), "not_found")
    assert await letters.ask(DiscardDeadLetter(id=second.id)) == DeadLetterSettled(id=second.id, replayed=False)
    await letters.refused(DiscardDeadLetter(id=second.id), "not_found")
    assert await letters.store.get_dead_letter(second.id) is None


async def _other_than(letters: Letters, message_id: str, letter_id: str) -> list[DeadLetter]:
    found, _ = await letters.store.list_dead_letters(DeadLetterFilter(), Page(1_000))
    return [one for one in found if one.message_id == message_id and one.id != letter_id]


async def test_a_letter_that_nobody_takes_stays(letters: Letters, world: World) -> None:
    queue, _ = await letters.refusing("work")
    message_id = new_id()
    await letters.bus.publish([frame(world.key(), message_id=message_id)])
    (letter,) = await letters.of(message_id)
    await letters.store.put_dead_letter(letter.model_copy(update={"routing_key": world.name("nobody")}))
    assert "reached no queue" in await letters.refused(ReplayDeadLetter(id=letter.id), "unavailable")
    assert await letters.store.get_dead_letter(letter.id) is not None
    assert queue.name == letter.queue


async def test_mail_that_killed_its_agent_can_be_sent_to_it_again(letters: Letters, world: World) -> None:
    """It came to the orchestrator by the dead letters' exchange, and still goes back to the agent."""
    agent_type, agent_id = f"{world.prefix}_clerk", f"ann-{world.prefix}"
    dies = True

    async def die(delivery: Delivery) -> None:
        if dies:
            raise RuntimeError("dead")
        await delivery.ack()

    inbox = Inbox(die)
    agent = topology.agent_queue(agent_type, agent_id)
    crashed = Queue(world.name("crashed"), (agent.dead_letter,), delivery_limit=None)
    world.queues += [agent, crashed]
    orchestrator = Service("orchestrator", world.bus(), routes=[Route(crashed, intakes={AgentMail: undelivered_mail})])
    await orchestrator.start()
    await letters.bus.subscribe(agent, inbox, prefetch=1).start()
    message = AgentMail(agent_id=agent_id, body={})
    body = wrap(message, sender="test", message_id=f"mail-{world.prefix}").model_dump_json().encode()
    await letters.bus.publish([Frame(message.address(), body, message.TYPE, f"mail-{world.prefix}")])
    (letter,) = await letters.of(f"mail-{world.prefix}")
    assert (letter.reason, letter.queue) == ("delivery-limit", agent.name)
    assert (letter.exchange, letter.routing_key) == ("conclave.agents", topology.agent_mail(agent_id).key)
    deaths = len(inbox.deliveries)
    dies = False
    assert await letters.ask(ReplayDeadLetter(id=letter.id)) == DeadLetterSettled(id=letter.id, replayed=True)
    assert (await inbox.wait_for(deaths + 1))[-1].body == body
    await orchestrator.stop()


async def test_a_letter_without_an_address_is_kept_and_cannot_be_replayed(letters: Letters, world: World) -> None:
    """Foreign messages, published to the dead letters by somebody else."""
    message_id = new_id()
    await letters.bus.publish([Frame(topology.dead("contract"), b"\xff", "", message_id)])
    (letter,) = await letters.of(message_id)
    assert (letter.reason, letter.exchange, letter.encoded) == ("contract", "", True)
    assert "not known" in await letters.refused(ReplayDeadLetter(id=letter.id), "conflict")
    assert await letters.store.get_dead_letter(letter.id) is not None


async def test_letters_wait_in_their_queue_while_the_store_is_away(letters: Letters, world: World) -> None:
    await letters.refusing("work")
    failures = 0

    async def away(operation: str, moment: str) -> None:
        nonlocal failures
        if operation == "put_dead_letter" and moment == "before" and failures < 3:
            failures += 1
            raise StoreUnavailable("away")

    letters.store.hook = away
    ids = [new_id() for _ in range(5)]
    await letters.bus.publish([frame(world.key(), one, message_id=one) for one in ids])
    assert [[letter.body for letter in await letters.of(one)] for one in ids] == [[one] for one in ids]
    assert failures == 3


async def test_what_no_store_holds_goes_to_a_queue_of_its_own(letters: Letters, world: World) -> None:
    await letters.refusing("work")
    taken = Inbox()
    own = topology.unstorable_letters().bindings
    copies = world.queue("unstorable", *own, kind=QueueKind.BROADCAST, delivery_limit=None)
    await letters.bus.subscribe(copies, taken, prefetch=10).start()

    async def too_large(operation: str, moment: str) -> None:
        if operation == "put_dead_letter":
            raise Unstorable("too large")

    letters.store.hook = too_large
    message_id = new_id()
    await letters.bus.publish([frame(world.key(), "large", message_id=message_id)])
    await taken.wait_until(lambda: message_id in [one.message_id for one in taken.deliveries])
    (found,) = [one for one in taken.deliveries if one.message_id == message_id]
    assert found.body == b"large"
    assert found.headers["x-conclave-reason"] == "contract"
    kept, _ = await letters.store.list_dead_letters(DeadLetterFilter(), Page(1_000))
    assert message_id not in [letter.message_id for letter in kept]


async def test_a_letter_that_is_taken_twice_is_kept_once(letters: Letters, world: World) -> None:
    """The store has it, but its answer is lost."""
    await letters.refusing("work")
    lost = 0

    async def answer_lost(operation: str, moment: str) -> None:
        nonlocal lost
        if operation == "put_dead_letter" and moment == "after" and not lost:
            lost += 1
            raise StoreUnavailable("no answer")

    letters.store.hook = answer_lost
    message_id = new_id()
    await letters.bus.publish([frame(world.key(), message_id=message_id)])

    async def twice() -> bool:
        return letters.store.calls["put_dead_letter"] >= 2

    await until(twice)
    assert len(await letters.of(message_id)) == 1
    assert lost == 1


async def test_a_command_whose_answer_was_lost_is_answered_again(letters: Letters, world: World) -> None:
    await letters.refusing("work")
    message_id = new_id()
    await letters.bus.publish([frame(world.key(), message_id=message_id)])
    (letter,) = await letters.of(message_id)
    failed = 0

    async def after_delete(operation: str, moment: str) -> None:
        nonlocal failed
        if operation == "delete_dead_letter" and moment == "after" and not failed:
            failed += 1
            raise StoreUnavailable("no answer")

    letters.store.hook = after_delete
    assert await letters.ask(DiscardDeadLetter(id=letter.id)) == DeadLetterSettled(id=letter.id, replayed=False)
    assert failed == 1
