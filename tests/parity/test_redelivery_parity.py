"""What every bus does with messages that go badly: given back, held by the dead, too often, refused."""

import asyncio

import pytest

from contracts.topology import Queue, QueueKind
from services.runtime.bus.base import BusUnavailable, Delivery, UnroutableMessage
from tests.support.buses import PATIENCE, Inbox, World, frame, frames, headers_set, hold

ALSO_SIGNED = True


async def test_a_message_comes_back_after_its_handler_failed(world: World) -> None:
    async def fail_once(delivery: Delivery) -> None:
        if delivery.redeliveries == 0:
            raise ValueError("the first attempt")
        await delivery.ack()

    bus, inbox = world.bus(), Inbox(fail_once)
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key(), message_id="same")])
    first, second = await inbox.wait_for(2)
    assert (first.redeliveries, second.redeliveries) == (0, 1)
    assert (first.message_id, second.message_id) == ("same", "same")


async def test_giving_back_is_counted(world: World) -> None:
    async def retry_three_times(delivery: Delivery) -> None:
        await (delivery.ack() if delivery.redeliveries == 3 else delivery.retry())

    bus, inbox = world.bus(), Inbox(retry_three_times)
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key())])
    deliveries = await inbox.wait_for(4)
    assert [delivery.redeliveries for delivery in deliveries] == [0, 1, 2, 3]
    assert inbox.counts == {"hello": 4}


async def test_one_that_is_given_back_goes_before_those_that_wait(world: World) -> None:
    bus, inbox = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), inbox, prefetch=1)
    await bus.start()
    await bus.publish(frames(world.key(), 3))
    await inbox.wait_for(1)
    await inbox.deliveries[0].retry()
    await inbox.wait_for(2)
    await inbox.deliveries[1].ack()
    await inbox.wait_for(3)
    assert inbox.bodies == ["0", "0", "1"]


async def test_a_failing_message_does_not_hold_up_the_others(world: World) -> None:
    async def refuse_the_bad(delivery: Delivery) -> None:
        if delivery.body == b"3":
            raise ValueError("always")
        await delivery.ack()

    dead = Inbox()
    bus, inbox = world.bus(), Inbox(refuse_the_bad)
    bus.subscribe(world.queue(delivery_limit=4, dead_letter=world.dead("end")), inbox, prefetch=5)
    bus.subscribe(world.queue("graves", world.dead("end")), dead, prefetch=5)
    await bus.start()
    await bus.publish(frames(world.key(), 10))
    await dead.wait_for(1)
    await inbox.wait_for(14)
    assert inbox.counts == {**{str(number): 1 for number in range(10)}, "3": 5}
    assert dead.bodies == ["3"]


async def test_what_a_closed_connection_held_goes_to_another(world: World) -> None:
    gone, held = world.bus(), Inbox(hold)
    gone.subscribe(world.queue(), held, prefetch=10)
    await gone.start()
    await gone.publish(frames(world.key(), 5))
    await held.wait_for(5)
    await held.deliveries[0].ack()
    await gone.close()

    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await inbox.wait_for(4)
    assert inbox.bodies == ["1", "2", "3", "4"]
    assert [delivery.redeliveries for delivery in inbox.deliveries] == [1, 1, 1, 1]


async def test_settling_after_the_connection_is_closed_does_nothing(world: World) -> None:
    gone, held, graves = world.bus(), Inbox(hold), Inbox()
    gone.subscribe(world.queue(), held, prefetch=10)
    await gone.start()
    await gone.publish(frames(world.key(), 3))
    await held.wait_for(3)
    await gone.close()
    await held.deliveries[0].ack()
    await held.deliveries[1].retry()
    await held.deliveries[2].dead_letter(world.name("refused"), "too late")

    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue("graves", world.dead("refused")), graves, prefetch=10)
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await inbox.wait_for(3)
    assert inbox.counts == {"0": 1, "1": 1, "2": 1}
    assert [delivery.redeliveries for delivery in inbox.deliveries] == [1, 1, 1]
    assert graves.bodies == []


async def test_settling_twice_is_settling_once(world: World) -> None:
    bus, inbox, graves = world.bus(), Inbox(hold), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=1)
    bus.subscribe(world.queue("graves", world.dead("refused")), graves, prefetch=10)
    await bus.start()
    await bus.publish(frames(world.key(), 2))
    (first,) = await inbox.wait_for(1)
    await first.ack()
    await first.ack()
    await first.retry()
    await first.dead_letter(world.name("refused"), "no")
    # With a prefetch of one, the second arrives only if the first was settled, and only once.
    _, second = await inbox.wait_for(2)
    await second.retry()
    await second.ack()
    await inbox.wait_for(3)
    await inbox.deliveries[2].ack()
    assert inbox.bodies == ["0", "1", "1"]
    assert graves.bodies == []


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_the_delivery_limit_ends_in_the_dead_letters(world: World, limit: int) -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError("poison")

    bus, inbox, graves = world.bus(), Inbox(fail), Inbox()
    queue = world.queue(delivery_limit=limit, dead_letter=world.dead("crashed.worker"))
    bus.subscribe(queue, inbox, prefetch=10)
    bus.subscribe(world.queue("graves", world.dead("crashed.#")), graves, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key(), "poison", message_id="p1", type="step.run.v1", headers={"a": "b"})])
    (dead,) = await graves.wait_for(1)
    assert [delivery.redeliveries for delivery in inbox.deliveries] == list(range(limit + 1))
    assert dead.died_in == queue.name
    assert dead.routing_key == world.name("crashed.worker")
    assert (dead.body, dead.message_id, dead.type) == (b"poison", "p1", "step.run.v1")
    assert (headers_set(dead), dead.redeliveries) == ({"a": "b"}, 0)


async def test_consumers_that_die_use_up_the_delivery_limit(world: World) -> None:
    queue = world.queue(delivery_limit=2, dead_letter=world.dead("crashed"))
    watch, graves = world.bus(), Inbox()
    watch.subscribe(world.queue("graves", world.dead("crashed")), graves, prefetch=10)
    await watch.start()
    await watch.declare(queue)
    await watch.publish([frame(world.key(), "killer")])
    for death in range(3):
        bus, inbox = world.bus(), Inbox(hold)
        bus.subscribe(queue, inbox, prefetch=1)
        await bus.start()
        (delivery,) = await inbox.wait_for(1)
        assert delivery.redeliveries == death
        await bus.close()
    (dead,) = await graves.wait_for(1)
    assert (dead.body, dead.died_in) == (b"killer", queue.name)


async def test_a_dead_letter_waits_for_somebody_who_takes_it(world: World) -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError("poison")

    bus, inbox = world.bus(), Inbox(fail)
    queue = world.queue(delivery_limit=1, dead_letter=world.dead("later"))
    graveyard = world.queue("graves", world.dead("later"))
    bus.subscribe(queue, inbox, prefetch=10)
    await bus.start()
    await bus.declare(graveyard)
    await bus.publish([frame(world.key(), "poison")])
    await inbox.wait_for(2)
    graves = Inbox()
    await bus.subscribe(graveyard, graves, prefetch=10).start()
    await graves.wait_for(1)
    assert graves.bodies == ["poison"]


async def test_dead_lettering_moves_a_message_with_its_reason(world: World) -> None:
    async def refuse(delivery: Delivery) -> None:
        await delivery.dead_letter(world.name("contract"), "payload.steps: field required")

    bus, inbox, graves = world.bus(), Inbox(refuse), Inbox()
    bus.subscribe(world.queue("work", world.key("a.*")), inbox, prefetch=1)
    bus.subscribe(world.queue("graves", world.dead("contract")), graves, prefetch=10)
    await bus.start()
    sent = frame(world.key("a.b"), "bad", message_id="m1", correlation_id="c1", reply_to="r1", headers={"kept": "yes"})
    await bus.publish([sent, frame(world.key("a.c"), "next")])
    dead, _ = await graves.wait_for(2)
    assert inbox.bodies == ["bad", "next"]  # a prefetch of one: the first was settled
    story = headers_set(dead)
    assert float(story.pop("x-conclave-died-at")) > 0
    assert story.pop("x-conclave-burial")
    assert story == {
        "kept": "yes",
        "x-conclave-reason": world.name("contract"),
        "x-conclave-detail": "payload.steps: field required",
        "x-conclave-queue": world.name("work"),
        "x-conclave-exchange": "conclave.commands",
        "x-conclave-routing-key": world.name("a.b"),
    }
    assert (dead.body, dead.type, dead.message_id) == (b"bad", "test.message.v1", "m1")
    assert (dead.correlation_id, dead.reply_to) == ("c1", "r1")
    assert (dead.routing_key, dead.died_in, dead.redeliveries) == (world.name("contract"), "", 0)


async def test_a_message_that_died_can_be_dead_lettered_once_more(world: World) -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError("poison")

    async def pass_on(delivery: Delivery) -> None:
        await delivery.dead_letter(world.name("final"), "nobody knows it")

    bus, work, crashed, final = world.bus(), Inbox(fail), Inbox(pass_on), Inbox()
    bus.subscribe(world.queue(delivery_limit=0, dead_letter=world.dead("crashed")), work, prefetch=1)
    bus.subscribe(world.queue("crashed", world.dead("crashed")), crashed, prefetch=1)
    bus.subscribe(world.queue("final", world.dead("final")), final, prefetch=1)
    await bus.start()
    await bus.publish([frame(world.key(), "poison")])
    (dead,) = await final.wait_for(1)
    assert crashed.deliveries[0].died_in == world.name("work")
    assert dead.died_in == ""
    assert dead.headers["x-conclave-queue"] == world.name("crashed")


async def test_a_long_detail_is_cut_and_bad_text_is_made_good(world: World) -> None:
    async def refuse(delivery: Delivery) -> None:
        await delivery.dead_letter(world.name("contract"), "\udc80" + "ä" * 100_000)

    bus, graves = world.bus(), Inbox()
    bus.subscribe(world.queue(), Inbox(refuse), prefetch=1)
    bus.subscribe(world.queue("graves", world.dead("contract")), graves, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key())])
    (dead,) = await graves.wait_for(1)
    assert dead.headers["x-conclave-detail"] == "?" + "ä" * 3_999


async def test_a_reason_that_nobody_takes_leaves_the_message_where_it_is(world: World) -> None:
    errors: list[str] = []

    async def refuse(delivery: Delivery) -> None:
        if delivery.redeliveries:
            return await delivery.ack()
        try:
            await delivery.dead_letter(world.name("no-such-reason"), "?")
        except UnroutableMessage as error:
            errors.append(error.address.key)
            raise

    bus, inbox = world.bus(), Inbox(refuse)
    bus.subscribe(world.queue(), inbox, prefetch=1)
    await bus.start()
    await bus.publish([frame(world.key())])
    await inbox.wait_for(2)
    assert errors == [world.name("no-such-reason")]
    assert inbox.counts == {"hello": 2}


async def test_a_broadcast_can_be_given_back_too(world: World) -> None:
    async def fail_once(delivery: Delivery) -> None:
        await (delivery.ack() if delivery.redeliveries else delivery.retry())

    queue = Queue(world.name("feed"), (world.event("#"),), QueueKind.BROADCAST, delivery_limit=None)
    bus, inbox = world.bus(), Inbox(fail_once)
    bus.subscribe(queue, inbox, prefetch=1)
    await bus.start()
    await bus.publish([frame(world.event("x"))])
    await inbox.wait_for(2)
    assert [delivery.redeliveries for delivery in inbox.deliveries] == [0, 1]


async def test_drain_takes_no_more_and_settles_what_is_in_hand(world: World) -> None:
    bus, held = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), held, prefetch=10)
    await bus.start()
    await bus.publish(frames(world.key(), 3))
    await held.wait_for(3)
    await bus.stop_consuming()
    await bus.publish([frame(world.key(), "waits")])
    for delivery in held.deliveries:
        await delivery.ack()
    await bus.close()

    after, inbox = world.bus(), Inbox()
    after.subscribe(world.queue(), inbox, prefetch=10)
    await after.start()
    await inbox.wait_for(1)
    assert held.bodies == ["0", "1", "2"]
    assert inbox.bodies == ["waits"]
    assert inbox.deliveries[0].redeliveries == 0


async def test_what_was_settled_last_is_settled_though_the_bus_closes_at_once(world: World) -> None:
    """Twenty, since a quorum queue sends at most 32 settlements ahead, and forgets the rest with the connection."""
    bus, held = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), held, prefetch=20)
    await bus.start()
    await bus.publish(frames(world.key(), 20))
    await held.wait_for(20)
    await asyncio.gather(*(delivery.ack() for delivery in held.deliveries))
    await bus.close()

    after, inbox = world.bus(), Inbox()
    after.subscribe(world.queue(), inbox, prefetch=10)
    await after.start()
    await after.publish([frame(world.key(), "new")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["new"]


async def test_stop_consuming_waits_for_handlers(world: World) -> None:
    begun, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(delivery: Delivery) -> None:
        begun.set()
        await gate.wait()
        await bus.publish([frame(world.event("result"))])
        await delivery.ack()
        ended.set()

    bus = world.bus()
    bus.subscribe(world.queue(), work, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key())])
    await begun.wait()
    stopping = asyncio.create_task(bus.stop_consuming())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    gate.set()
    await stopping
    assert ended.is_set()


async def test_a_handler_that_does_not_end_is_left_behind(world: World) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(_: Delivery) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    bus = world.bus(drain_timeout=0.05)
    bus.subscribe(world.queue(), stuck, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key())])
    await begun.wait()
    await bus.stop_consuming()
    assert not cancelled.is_set()
    await bus.close()
    async with asyncio.timeout(PATIENCE):
        await cancelled.wait()

    after, inbox = world.bus(), Inbox()
    after.subscribe(world.queue(), inbox, prefetch=10)
    await after.start()
    (delivery,) = await inbox.wait_for(1)
    assert delivery.redeliveries == 1


async def test_a_bus_can_be_started_again(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    for round_ in range(3):
        await bus.start()
        await bus.publish([frame(world.key(), str(round_))])
        await inbox.wait_for(round_ + 1)
        await bus.stop_consuming()
        await bus.close()
        with pytest.raises(BusUnavailable):
            await bus.publish([frame(world.key(), "closed")])
    assert inbox.bodies == ["0", "1", "2"]
