"""The committer, one rule at a time, over a store in memory and a bus that notes what is published."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from contracts.execution import ExecutionAccepted, Refused, RunSteps, StepResult, WakeUp
from contracts.history import StepError
from contracts.workflow import WorkflowDefinition
from services.orchestrator.engine import Cancel, Limits, execution_plan
from services.orchestrator.mailbox import Item, Outcome, Receipt
from services.runtime.bus.base import BusUnavailable, Frame
from services.runtime.envelope_codec import Outgoing
from services.runtime.store.base import StoreError
from tests.support.committing import Desk, NotingDelivery, result


def answer(outcome: Outcome) -> Outgoing[Any]:
    from contracts import topology

    said = (
        Refused(code="conflict", message="another body")
        if outcome.conflict
        else ExecutionAccepted(execution_id=outcome.execution_id, repeated=not outcome.changed)
    )
    return Outgoing(said, to=topology.reply("asker"))


def failure(execution_id: str, step: str) -> Item:
    error = StepError(type="Flaky", message="this time", retryable=True)
    message = StepResult(
        result_id=f"{execution_id}{step}failed", execution_id=execution_id, step=step, attempt=1, ok=False, error=error
    )
    return Item(execution_id, message, Receipt(None, 1))


async def test_a_chain_writes_two_headers() -> None:
    desk = Desk()
    chain = {f"s{i}": {"depends_on": [f"s{i - 1}"]} for i in range(1, 4)}
    steps = [{"agent_type": "a", "action": "do", "id": f"s{i}", **chain.get(f"s{i}", {})} for i in range(4)]
    plan = execution_plan(WorkflowDefinition.model_validate({"name": "w", "steps": steps}), Limits())
    desk.plans[plan.definition_hash] = plan
    await desk.committer.commit([desk.started("e", plan)])
    for i in range(4):
        await desk.committer.commit([result("e", f"s{i}")])
    assert desk.store.calls["write_headers"] == 2
    assert [entry.n for entry in desk.store.log_of("e")] == [1, 2, 3, 4, 5]
    header = desk.store.header_of("e")
    assert header is not None
    assert header.status.value == "completed"


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_wake_up_told_twice_sends_again_only_what_nobody_here_saw_published(replicas: int) -> None:
    """Every replica looks for timers that are due, so a wake-up may well come twice."""
    desk = Desk()
    retried = {"retry": {"max_attempts": 2, "backoff": 1}}
    await desk.committer.commit([desk.started("e", desk.plan("s", **retried))])
    await desk.committer.commit([failure("e", "s")])
    due = desk.store.header_of("e").wake_at  # type: ignore[union-attr]
    assert due is not None
    desk.now = due
    wake_up = WakeUp(execution_id="e", due=due)
    await desk.committer.commit([Item("e", wake_up, Receipt(None, 1))])
    assert desk.bus.commands() == ["e/s/1", "e/s/2"]
    other = desk
    if replicas == 2:
        other = Desk(store=desk.store)
        other.plans.update(desk.plans)
        other.now = due
    await other.committer.commit([Item("e", wake_up, Receipt(None, 1))])
    assert other.bus.commands() == (["e/s/1", "e/s/2"] if other is desk else ["e/s/2"])


async def test_of_two_starts_in_one_batch_the_first_decides() -> None:
    desk = Desk()
    first, second = desk.plan("a_step"), desk.plan("b_step")
    await desk.committer.commit([desk.started("e", first, answer=answer), desk.started("e", second, answer=answer)])
    assert desk.bus.commands() == ["e/a_step/1"]
    answers = [message for message in desk.bus.messages if isinstance(message, ExecutionAccepted | Refused)]
    assert [type(message) for message in answers] == [ExecutionAccepted, Refused]


async def test_a_cancel_before_its_start_in_the_same_batch_is_a_dead_letter() -> None:
    desk = Desk()
    early, start = NotingDelivery(), NotingDelivery()
    items = [Item("e", Cancel(), Receipt(early, 1)), desk.started("e", desk.plan("s"), start)]
    await desk.committer.commit(items)
    assert (early.settled, start.settled) == (["unknown-execution"], ["ack"])
    assert desk.bus.commands() == ["e/s/1"]


async def test_a_delivery_is_acked_when_the_last_of_its_items_is_committed() -> None:
    desk = Desk()
    plan = desk.plan("s", "t")
    await desk.committer.commit([desk.started("e", plan), desk.started("f", plan)])
    delivery = NotingDelivery()
    receipt = Receipt(delivery, 3)
    unknown = Item("never", Cancel(), Receipt(NotingDelivery(failures=1), 1))
    await desk.committer.commit([result("e", "s", receipt, 0), unknown])
    await desk.committer.commit([result("e", "t", receipt, 1)])
    assert delivery.settled == []
    await desk.committer.commit([result("f", "s", receipt, 2)])
    assert delivery.settled == ["ack"]


async def test_a_broker_that_is_away_delays_the_ack_and_doubles_nothing() -> None:
    desk = Desk()
    desk.bus.failures = [BusUnavailable("away"), BusUnavailable("still away")]
    delivery = NotingDelivery()
    await desk.committer.commit([desk.started("e", desk.plan("s"), delivery)])
    assert delivery.settled == ["ack"]
    assert desk.bus.commands() == ["e/s/1"]
    assert len(desk.store.log_of("e")) == 1


async def test_one_item_that_cannot_be_committed_does_not_take_the_others_along() -> None:
    desk = Desk()
    plan = desk.plan("s")
    lost = execution_plan(desk.plan("other").definition, Limits())
    await desk.committer.commit([desk.started("broken", lost)])
    desk.states.forget(["broken"])
    del desk.plans[lost.definition_hash]
    culprit, other = NotingDelivery(), NotingDelivery()
    await desk.committer.commit([result("broken", "other", Receipt(culprit, 1)), desk.started("e", plan, other)])
    assert (culprit.settled, other.settled) == (["handler-failed"], ["ack"])


async def test_what_the_store_refuses_for_now_is_given_back() -> None:
    async def full(operation: str, moment: str) -> None:
        if operation == "append" and moment == "before":
            raise StoreError("no space left on device")

    desk = Desk()
    desk.store.hook = full
    delivery = NotingDelivery()
    await desk.committer.commit([desk.started("e", desk.plan("s"), delivery)])
    assert delivery.settled == ["retry"]
    assert desk.bus.messages == []


@pytest.mark.parametrize("agent_id", ["ghost", None])
async def test_work_that_no_queue_takes_fails_its_step(agent_id: str | None) -> None:
    desk = Desk()
    desk.bus.no_queue_for = {"a.ghost.do", "a.any.do"}
    delivery = NotingDelivery()
    await desk.committer.commit([desk.started("e", desk.plan("s", agent_id=agent_id), delivery)])
    assert delivery.settled == ["ack"]
    await desk.committer.commit(desk.committer.mailbox.take(10))
    last = desk.store.log_of("e")[-1].events
    assert isinstance(getattr(last[0], "error", None), StepError)
    assert last[0].error.type == "UnroutableMessage"  # type: ignore[union-attr]


async def test_large_inputs_travel_in_messages_of_bounded_size() -> None:
    desk = Desk()
    plan = desk.plan(*(f"s{i}" for i in range(6)), inputs={"text": "x" * 1_500_000})
    for _ in range(50):
        desk.committer._sizes.observe("a", "do", 0.0001)
    await desk.committer.commit([desk.started("e", plan)])
    runs = [message for message in desk.bus.messages if isinstance(message, RunSteps)]
    assert [len(run.commands) for run in runs] == [2, 2, 2]


async def test_the_next_batch_is_recorded_while_one_is_told_and_acked_after_it() -> None:
    desk = Desk()
    confirmed = asyncio.Event()
    publish = desk.bus.publish

    async def publish_slowly(frames: Sequence[Frame]) -> None:
        await confirmed.wait()
        await publish(frames)

    desk.bus.publish = publish_slowly  # type: ignore[method-assign]
    first, second = NotingDelivery(), NotingDelivery()
    plan = desk.plan("s")
    await desk.committer.start()
    desk.committer.mailbox.put(desk.started("e", plan, first))
    while not desk.store.log_of("e"):
        await asyncio.sleep(0)
    desk.committer.mailbox.put(desk.started("f", plan, second))
    while not desk.store.log_of("f"):
        await asyncio.sleep(0)
    assert (first.settled, second.settled, desk.bus.messages) == ([], [], [])
    assert not desk.committer.mailbox.drained.is_set()
    confirmed.set()
    await desk.committer.stop()
    assert (first.settled, second.settled) == (["ack"], ["ack"])
    assert desk.bus.commands() == ["e/s/1", "f/s/1"]


async def test_an_execution_that_has_ended_leaves_the_cache_and_what_still_comes_changes_nothing() -> None:
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    assert len(desk.states._cache) == 1
    await desk.committer.commit([result("e", "s")])
    assert len(desk.states._cache) == 0
    late = NotingDelivery()
    await desk.committer.commit([result("e", "s", Receipt(late, 1))])
    assert late.settled == ["ack"]
    assert [entry.n for entry in desk.store.log_of("e")] == [1, 2]


async def test_results_are_asked_for_where_this_replica_hears_from() -> None:
    desk = Desk()
    desk.committer._affinity.heard_from("shard.2")
    plan = desk.plan("s")
    await desk.committer.commit([desk.started(f"e{i}", plan) for i in range(8)])
    keys = {command.reply_key for run in desk.bus.messages if isinstance(run, RunSteps) for command in run.commands}
    assert keys == {"shard.2"}
