"""RabbitBus under a user that may not do everything: it goes on with what is there, and names what is refused."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs
from yarl import URL

from contracts import topology
from contracts.topology import Queue
from services.runtime.bus.base import Bus, BusError, BusUnavailable, UnroutableMessage
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.rabbit_refusals import PublishRefused
from tests.integration.transport.conftest import Users
from tests.support.bus_faults import start, stop, until_published
from tests.support.buses import ANSWERS_WITHIN, PATIENCE, Inbox, frame, frames
from tests.support.rabbitmq_users import rabbitmqctl, url_of

pytestmark = pytest.mark.rabbitmq

SHARD, START = topology.shard("shard.0"), topology.start_now()
WORK = topology.agent_work("data_agent", None, "query")

Open = Callable[[str], Bus]


@pytest.fixture
async def bus_of(users: Users) -> AsyncIterator[Open]:
    """A bus of a user's that is closed at the end."""
    opened: list[Bus] = []

    def open_bus(name: str) -> Bus:
        url = users.root if name == "root" else users.of(name)
        opened.append(RabbitBus(url, confirm_timeout=ANSWERS_WITHIN))
        return opened[-1]

    yield open_bus
    for bus in opened:
        await bus.close()


async def heard(bus: Bus, queue: Queue) -> Inbox:
    """What comes to a queue from now on; what was in it is gone."""
    inbox = Inbox()
    await bus.start()
    await bus.remove(queue, lambda delivery: delivery.ack())
    await bus.subscribe(queue, inbox, prefetch=500).start()
    return inbox


async def test_it_takes_from_a_queue_that_it_may_not_make(bus_of: Open) -> None:
    host, orchestrator, inbox = bus_of("data_agent"), bus_of("orchestrator"), Inbox()
    host.subscribe(topology.agent_type_queue("data_agent"), inbox, prefetch=10)
    await host.start()
    await orchestrator.start()
    await orchestrator.publish([frame(WORK, "work")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["work"]


async def test_a_queue_that_is_not_there_and_may_not_be_made_is_an_error_by_name(bus_of: Open) -> None:
    bus = bus_of("data_agent")
    bus.subscribe(topology.agent_type_queue("unheard_of"), Inbox(), prefetch=10)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BusError, match=r"no queue 'unheard_of'.*may not make it.*rabbitmq_users\.py") as raised:
            await bus.start()
    assert not isinstance(raised.value, BusUnavailable)


async def test_a_queue_that_it_may_not_read_is_an_error_by_name(bus_of: Open) -> None:
    bus = bus_of("data_agent")
    bus.subscribe(topology.agent_type_queue("decision_agent"), Inbox(), prefetch=10)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BusError, match=r"ACCESS_REFUSED.*decision_agent.*refused for user 'data_agent'"):
            await bus.start()


async def test_declaring_what_is_there_is_no_error_and_the_next_declaration_works(bus_of: Open) -> None:
    registry = bus_of("registry")
    await registry.start()
    for _ in range(2):
        await registry.declare(topology.orchestrator_crashed())
        await registry.declare(topology.agent_queue("data_agent", "clerk"))
        with pytest.raises(BusError, match=r"no queue 'unheard_of'"):
            await registry.declare(topology.agent_type_queue("unheard_of"))
    await registry.remove(topology.agent_queue("data_agent", "clerk"), lambda delivery: delivery.ack())
    with pytest.raises(UnroutableMessage):
        await registry.publish([frame(topology.agent_mail("clerk"))])


async def test_a_refused_publish_is_an_error_by_name_and_the_next_one_works(bus_of: Open) -> None:
    results = await heard(bus_of("root"), topology.orchestrator_shards()[0])
    bus = bus_of("data_agent")
    await bus.start()
    for number in range(3):
        with pytest.raises(
            PublishRefused, match=r"test\.message\.v1.*conclave\.commands.*execution\.start_now.*ACCESS_REFUSED"
        ):
            await bus.publish([frame(START)])
        await bus.publish([frame(SHARD, f"after {number}")])
    await results.wait_for(3)
    assert results.bodies == ["after 0", "after 1", "after 2"]


async def test_what_is_published_beside_a_refused_message_arrives(bus_of: Open) -> None:
    results = await heard(bus_of("root"), topology.orchestrator_shards()[0])
    bus = bus_of("data_agent")
    await bus.start()
    beside = frames(SHARD, 100, "m")
    with pytest.raises(PublishRefused, match="execution"):
        await bus.publish([*beside[:50], frame(START), *beside[50:], frame(topology.command("execution.cancel"))])
    await results.wait_until(lambda: len(results.counts) == 100)
    assert set(results.counts) == {f"m{number}" for number in range(100)}


async def test_who_publishes_at_the_same_time_is_not_refused(bus_of: Open) -> None:
    """Their channel is closed under them by somebody else's refusal: they publish again, or hear that they have to."""
    results = await heard(bus_of("root"), topology.orchestrator_shards()[0])
    bus = bus_of("data_agent")
    await bus.start()

    async def publish_on(name: str) -> None:
        for number in range(20):
            await until_published(bus, frame(SHARD, f"{name}{number}"))

    async def be_refused() -> None:
        for _ in range(10):
            with pytest.raises((PublishRefused, BusUnavailable)):
                await bus.publish([frame(START)])

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(publish_on("a"), publish_on("b"), be_refused(), be_refused())
    await results.wait_until(lambda: len(results.counts) == 40)
    assert bus.connected


async def test_an_address_whose_exchange_may_not_be_written_to(bus_of: Open) -> None:
    bus = bus_of("auditor")
    await bus.start()
    with pytest.raises(PublishRefused, match=r"conclave\.commands.*refused for user 'auditor'"):
        await bus.publish([frame(START)])


async def test_everything_goes_on_after_a_restart_of_the_broker(users: Users, bus_of: Open) -> None:
    """Also what is only looked up, and the queues of its own."""
    host, orchestrator, work, told = bus_of("data_agent"), bus_of("orchestrator"), Inbox(), Inbox()
    host.subscribe(topology.agent_type_queue("data_agent"), work, prefetch=10)
    host.subscribe(topology.host_queue("data_agent-0a1b", ["data_agent"]), told, prefetch=10)
    await host.start()
    await host.declare(topology.registry_queue())
    await orchestrator.start()
    await stop(users.server)
    await start(users.server)
    await until_published(orchestrator, frame(WORK, "work"))
    await work.wait_for(1)
    async with asyncio.timeout(PATIENCE):
        while not told.deliveries:
            await until_published(orchestrator, frame(topology.steps_cancelled("data_agent"), "cancelled"))
            await asyncio.sleep(0.1)
    assert set(told.bodies) == {"cancelled"}


async def test_a_broker_without_the_exchanges_is_an_error_by_name(users: Users) -> None:
    command, environment = rabbitmqctl(users.server)
    for words in (("add_vhost", "bare"), ("set_permissions", "-p", "bare", "data_agent", "^$", "^$", "^$")):
        await asyncio.to_thread(subprocess.run, [command, *words], env=environment, check=True, capture_output=True)
    bus = RabbitBus(str(URL(url_of(users.server.url, users.passwords, "data_agent")).with_path("/bare")))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BusError, match=r"no exchange 'conclave\.replies'.*may not make it.*rabbitmq_users\.py"):
            await bus.start()
    await bus.close()


async def test_a_wrong_password_is_refused_at_the_start(users: Users) -> None:
    bus = RabbitBus(str(URL(users.of("edge")).with_password("wrong")))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BusError, match="refused"):
            await bus.start()
    with capture_logs() as logs:
        await bus.close()
    assert "wrong" not in str(logs)
