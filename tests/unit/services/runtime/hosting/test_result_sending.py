"""Results that no queue takes hold up no other, and what was owed for them is a dead letter."""

import asyncio
from collections.abc import Iterable
from typing import Any

from contracts import topology
from contracts.envelope import wrap
from contracts.execution import RunSteps, StepCommand, StepResult, StepResults
from services.runtime.bus.base import BusUnavailable, UnroutableMessage
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.results import Finished, ResultSender, Work
from services.runtime.service import Received


class Broker:
    """Takes results for one shard; of a batch it publishes all of those before it says what it could not."""

    def __init__(self) -> None:
        self.arrived: list[StepResult] = []
        self.away = 0

    async def send(self, outgoing: Iterable[Outgoing[Any]]) -> None:
        if self.away:
            self.away -= 1
            raise BusUnavailable("away")
        unroutable = None
        for one in outgoing:
            message: StepResults = one.message
            if message.reply_key == "shard.0":
                self.arrived += message.results
            else:
                unroutable = UnroutableMessage(topology.shard(message.reply_key), message.TYPE)
        if unroutable is not None:
            raise unroutable


class Letter:
    def __init__(self, failures: int = 0) -> None:
        self.settled: list[tuple[str, ...]] = []
        self.done = asyncio.Event()
        self._failures = failures

    def _settle(self, *how: str) -> None:
        self.settled.append(how)
        self.done.set()

    async def ack(self) -> None:
        self._settle("ack")

    async def retry(self) -> None:
        self._settle("retry")

    async def dead_letter(self, reason: str, detail: str) -> None:
        if self._failures:
            self._failures -= 1
            raise BusUnavailable("away")
        self._settle(reason, detail)


def owed(letter: Any, sender: ResultSender, *reply_keys: str) -> None:
    """Results for one message of commands, one for each key."""
    commands = tuple(
        StepCommand(execution_id="e", step=f"s{i}", attempt=1, timeout=5, reply_key=key)
        for i, key in enumerate(reply_keys)
    )
    run = RunSteps(agent_type="a", action="do", commands=commands)
    work = Work(Received(wrap(run, sender="o"), letter), len(commands))
    for command in commands:
        result = StepResult(
            result_id=f"{id(letter)}{command.step}", execution_id="e", step=command.step, attempt=1, ok=True
        )
        sender.put(Finished(result, command.reply_key, "do", 10, work))


async def settled(*letters: Letter) -> None:
    async with asyncio.timeout(10):
        for letter in letters:
            await letter.done.wait()


async def sent(broker: Broker, *letters: tuple[Letter, tuple[str, ...]]) -> None:
    sender = ResultSender(broker, 5.0)  # type: ignore[arg-type]
    for letter, keys in letters:
        owed(letter, sender, *keys)
    await sender.start()
    await settled(*(letter for letter, _ in letters))
    await sender.stop()


async def test_a_key_that_no_queue_takes_blocks_nobody() -> None:
    broker, good, forged, mixed, also = Broker(), Letter(), Letter(), Letter(), Letter()
    await sent(
        broker,
        (good, ("shard.0", "shard.0")),
        (forged, ("shard.nowhere",)),
        (mixed, ("shard.0", "shard.elsewhere")),
        (also, ("shard.0",)),
    )
    assert (good.settled, also.settled) == ([("ack",)], [("ack",)])
    for letter, key in ((forged, "shard.nowhere"), (mixed, "shard.elsewhere")):
        ((reason, detail),) = letter.settled
        assert (reason, key in detail) == ("handler-failed", True)
    assert len({result.result_id for result in broker.arrived}) == 4


async def test_a_broker_that_is_away_is_waited_for_as_before() -> None:
    broker, good, forged = Broker(), Letter(), Letter()
    broker.away = 2
    await sent(broker, (good, ("shard.0",)), (forged, ("shard.nowhere",)))
    assert (good.settled, forged.settled[0][0]) == ([("ack",)], "handler-failed")


async def test_what_cannot_become_a_dead_letter_now_goes_back_to_its_queue() -> None:
    broker, forged, good = Broker(), Letter(failures=1), Letter()
    await sent(broker, (forged, ("shard.nowhere",)), (good, ("shard.0",)))
    assert (forged.settled, good.settled) == ([("retry",)], [("ack",)])
