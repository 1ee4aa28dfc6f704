"""More than there is room for: what clients are told, what waits, and that all of it ends. Over every bus."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from contracts import topology
from contracts.envelope import Message
from contracts.execution import CancelAccepted, CancelExecution, ExecutionAccepted, Refused, StartExecution
from contracts.history import ExecutionStatus
from services.runtime.bus.base import Bus
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.requests import Requests
from tests.support.edge_world import (
    API,
    CHAIN,
    PATIENCE,
    World,
    accepts,
    definition,
    edge_settings,
    ended,
    followed,
    started,
    step,
    until,
)

ROOM = 20
FOR_THE_PATIENT = 18
HELD = definition(step("held", gate="g", data="inputs.x"), name="held")


class Client:
    """A program that speaks over the bus."""

    def __init__(self, make_bus: Callable[[], Bus]) -> None:
        self.make_bus = make_bus
        self.bus = make_bus()
        self._requests = Requests(self.bus, "test-client")

    async def ask(self, message: Message, *, now: bool = True) -> Message:
        to = topology.start_now() if now and isinstance(message, StartExecution) else None
        return await self._requests.ask(Outgoing(message, to=to), PATIENCE)

    async def start(self, *execution_ids: str) -> None:
        """Start executions and wait for no answer."""
        starts = [StartExecution(execution_id=key, definition=HELD, inputs={"x": key}) for key in execution_ids]
        await self.bus.publish([encode(Outgoing(start), "test-client") for start in starts])


@pytest.fixture(params=["direct", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def full(request: pytest.FixtureRequest) -> AsyncIterator[tuple[World, Client]]:
    """A world with room for 20 executions, and a client on its bus."""
    world = World(edge_settings().model_copy(update={"max_open_executions": ROOM, "max_streams": 2}))
    make: Callable[[], Bus] = world.bus
    if request.param == "rabbitmq":
        url = request.getfixturevalue("own_rabbit").url
        # A flood at once, on a machine that other tests share: the broker may take its time to confirm it.
        make = lambda: RabbitBus(url, confirm_timeout=PATIENCE)  # noqa: E731
    client = Client(make)
    try:
        await world.run_orchestrator(make)
        await world.run_agents(make)
        edge = await world.run_edge(make())
        await client.bus.start()
        await until(lambda: accepts(edge, CHAIN))
        yield world, client
    finally:
        await client.bus.close()
        await world.close()


def headers(world: World) -> Counter[ExecutionStatus]:
    return Counter(ExecutionStatus(row["status"]) for row in world.store.rows["headers"].values())


async def running(world: World, count: int) -> None:
    async def reached() -> bool:
        return headers(world)[ExecutionStatus.RUNNING] == count

    await until(reached)


async def test_a_flood_without_replies_waits_and_all_of_it_completes(full: tuple[World, Client]) -> None:
    world, client = full
    ids = [f"flood-{i}" for i in range(400)]
    await client.start(*ids)
    await running(world, FOR_THE_PATIENT)

    # The queue of those that wait is longer than what is prefetched, and yet:
    await until(lambda: accepted(client, "asked-0"))
    await until(lambda: accepted(client, "asked-1"))
    refused = await client.ask(StartExecution(execution_id="asked-2", definition=HELD, inputs={"x": 2}))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.subject) == ("overloaded", "asked-2")
    assert refused.retry_after is not None
    assert 1 <= refused.retry_after <= 60

    again = StartExecution(execution_id="asked-0", definition=HELD, inputs={"x": "asked-0"})
    assert await client.ask(again) == ExecutionAccepted(execution_id="asked-0", repeated=True)
    other = await client.ask(StartExecution(execution_id="asked-0", definition=HELD, inputs={"x": "other"}))
    assert isinstance(other, Refused)
    assert other.code == "conflict"

    cancelled = await client.ask(CancelExecution(execution_id="asked-1"))
    assert cancelled == CancelAccepted(execution_id="asked-1", status=ExecutionStatus.CANCELLED)
    await until(lambda: accepted(client, "asked-4"))
    assert headers(world)[ExecutionStatus.RUNNING] <= ROOM

    world.open_gate("g")

    async def all_ended() -> bool:
        return headers(world)[ExecutionStatus.COMPLETED] == 400 + 2

    await until(all_ended)
    assert headers(world) == {ExecutionStatus.COMPLETED: 402, ExecutionStatus.CANCELLED: 1}
    for key in ids:
        events = [event for entry in world.store.log_of(key) for event in entry.events]
        assert [event.output["data"] for event in events if event.kind == "step_succeeded"] == [key]


async def accepted(client: Client, execution_id: str) -> bool:
    answer = await client.ask(StartExecution(execution_id=execution_id, definition=HELD, inputs={"x": execution_id}))
    return isinstance(answer, ExecutionAccepted)


async def test_what_waits_goes_back_to_the_broker_with_a_clean_stop_and_is_taken_by_the_next(
    full: tuple[World, Client],
) -> None:
    world, client = full
    await client.start(*(f"flood-{i}" for i in range(60)))
    await running(world, FOR_THE_PATIENT)
    orchestrator = world.running.pop(0)
    async with asyncio.timeout(PATIENCE):
        await orchestrator.stop()
    await world.run_orchestrator(client.make_bus)
    world.open_gate("g")

    async def all_ended() -> bool:
        return headers(world)[ExecutionStatus.COMPLETED] == 60

    await until(all_ended)


def is_overloaded(answer: httpx.Response) -> bool:
    return (
        answer.status_code == 503
        and answer.json()["type"] == "urn:conclave:problem:overloaded"
        and 1 <= int(answer.headers["retry-after"]) <= 60
    )


async def test_rest_clients_are_told_to_come_later_and_repetitions_are_answered(full: tuple[World, Client]) -> None:
    world, _ = full
    edge = world.clients[0]
    body = {"definition": HELD, "inputs": {"x": 1}}
    keyed = {"idempotency-key": "first"}
    first = await edge.post(f"{API}/executions", json=body, headers=keyed)
    answers: list[httpx.Response] = []

    async def full_up() -> bool:
        answers.extend(await asyncio.gather(*(edge.post(f"{API}/executions", json=body) for _ in range(50))))
        return headers(world)[ExecutionStatus.RUNNING] >= ROOM

    await until(full_up)
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len(accepted) == ROOM - 1
    assert all(is_overloaded(answer) for answer in answers if answer.status_code != 202)
    assert headers(world) == {ExecutionStatus.RUNNING: ROOM}, "nothing is stored of what was refused"

    for _ in range(3):
        repeated = await edge.post(f"{API}/executions", json=body, headers=keyed)
        assert (repeated.status_code, repeated.headers["location"]) == (202, first.headers["location"])
        assert repeated.headers["idempotency-replayed"] == "true"
        assert is_overloaded(await edge.post(f"{API}/executions", json=body, headers={"idempotency-key": "new"}))
        await asyncio.sleep(0.3)

    href = accepted[0].headers["location"]
    assert (await edge.post(f"{href}/cancel")).json()["status"] == "cancelled"
    assert (await edge.get(f"{API}/executions")).status_code == 200

    world.open_gate("g")
    for answer in (first, *accepted[1:]):
        assert (await ended(edge, answer.headers["location"]))["status"] == "completed"

    async def there_is_room() -> bool:
        return (await edge.post(f"{API}/executions", json=body)).status_code == 202

    await until(there_is_room)


async def test_as_many_streams_as_may_be(full: tuple[World, Client]) -> None:
    world, _ = full
    edge = world.clients[0]
    href = await started(edge, HELD, x=1)
    async with followed(edge, href) as one, followed(edge, href) as two:
        assert [(await stream.next()) is not None for stream in (one, two)] == [True, True]
        assert is_overloaded(await edge.get(f"{href}/events"))
        world.open_gate("g")
        assert [(await stream.rest())[-1].kind for stream in (one, two)] == ["execution_ended"] * 2
    async with followed(edge, href) as again:
        assert (await again.rest())[-1].kind == "execution_ended"


async def test_two_orchestrators_share_the_limit_but_for_what_they_let_in_at_once(full: tuple[World, Client]) -> None:
    world, client = full
    await world.run_orchestrator(client.make_bus)
    ids = [f"flood-{i}" for i in range(400)]
    await client.start(*ids)

    async def none_is_let_in_any_more() -> bool:
        before = headers(world)
        await asyncio.sleep(1.5)
        return headers(world) == before and before[ExecutionStatus.RUNNING] >= FOR_THE_PATIENT

    await until(none_is_let_in_any_more)
    assert headers(world)[ExecutionStatus.RUNNING] <= 2 * FOR_THE_PATIENT
    world.open_gate("g")

    async def all_ended() -> bool:
        return headers(world)[ExecutionStatus.COMPLETED] == 400

    await until(all_ended)
    assert set(world.store.rows["headers"]) == set(ids)
