"""The driver and the counters, against a system that runs."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.counting import Counts
from benchmarks.driver import Driver
from benchmarks.echo_agent import EchoAgent, Echoed
from benchmarks.flight import RoundFailed
from benchmarks.rounds import Workload
from contracts.envelope import new_id
from contracts.execution import StartExecution
from services.runtime.agent import BaseAgent, capability
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Settings
from tests.support.memory_store import MemoryStore
from tests.support.running import running

CHAIN = Workload("chain", "chain", steps=4, workflows=7, in_flight=3)


class Forgetful(BaseAgent):
    """Calls itself the echo and gives back something else."""

    agent_type = EchoAgent.agent_type

    @capability("echo")
    async def echo(self, request: Echoed) -> Echoed:
        """Answer with less than was asked."""
        return Echoed(payload=request.payload[:-1])


@asynccontextmanager
async def driven(
    agent: type[BaseAgent] = EchoAgent, counts: Counts | None = None, within: float = 30.0
) -> AsyncIterator[Driver]:
    counts, store, settings = counts or Counts(), MemoryStore(), Settings()

    def host(broker: DirectBroker) -> Service:
        return agent_service(agent, settings, counts.bus(DirectBus(broker)))

    async with running(counts.store(store), settings, [host]) as system:
        driver = Driver(DirectBus(system.broker), lambda: store)
        await driver.start()
        try:
            await driver.ready(within)
            yield driver
        finally:
            await driver.stop()


@pytest.mark.parametrize(
    ("workload", "outputs"),
    [
        (CHAIN, 7),
        (Workload("fan", "fan", steps=8, workflows=3, in_flight=1), 3),
        (Workload("layered", "layered", steps=12, workflows=2, in_flight=2, width=3), 6),
        (Workload("large", "chain", steps=2, workflows=2, in_flight=2, payload=100_000), 2),
    ],
    ids=lambda value: value.name if isinstance(value, Workload) else "",
)
async def test_a_round_runs_every_workflow_and_compares_every_output(workload: Workload, outputs: int) -> None:
    async with driven() as driver:
        await driver.prepare(workload)
        told = await driver.run(workload)
        assert len(told["latencies_ms"]) == workload.workflows
        assert told["seconds"] > 0
        assert await driver.check() == outputs


async def test_a_system_that_gives_back_other_bytes_fails_its_round() -> None:
    with pytest.raises(RoundFailed, match="workflow 0 of probe put out"):
        async with driven(Forgetful, within=0.5):
            pytest.fail("it called itself ready")


async def test_starts_that_others_send_are_followed_by_their_workflow() -> None:
    async with driven() as driver:
        watched = await driver.watch(Workload("start", "start", steps=1, workflows=2, in_flight=1))
        inputs = {"payload": watched["payload"]}
        begun = time.time() - 1
        for _ in range(2):
            start = StartExecution(execution_id=f"x-{new_id()}", workflow_id=watched["workflow_id"], inputs=inputs)
            await driver.bus.publish([encode(Outgoing(start), "somebody")])
        assert begun <= (await driver.watched(2))["at"] <= time.time() + 1
        assert await driver.check() == 2


async def test_without_a_round_there_is_nothing_to_check() -> None:
    with pytest.raises(RoundFailed, match="no round has been run yet"):
        await Driver(DirectBus(DirectBroker()), MemoryStore).check()


async def test_messages_and_store_calls_are_counted() -> None:
    counts = Counts()
    async with driven(counts=counts) as driver:
        await driver.prepare(CHAIN)
        before = counts.totals()
        await driver.run(CHAIN)
        await driver.check()
        after = counts.totals()
    appended = after["store_items"]["append"] - before["store_items"]["append"]
    assert CHAIN.workflows * 5 == appended  # the start, then each step's result
    assert after["store_calls"]["append"] - before["store_calls"]["append"] <= appended
    results = after["messages"]["step.results.v1"] - before["messages"]["step.results.v1"]
    assert 4 <= results <= CHAIN.total_steps
    assert after["message_bytes"]["step.results.v1"] > before["message_bytes"]["step.results.v1"] + CHAIN.total_steps
