"""A result or a report of a step by another agent than the step's changes nothing, and is kept as a dead letter."""

from typing import Any

import pytest

from contracts import topology
from contracts.envelope import wrap
from contracts.execution import CancelAccepted, CancelExecution, StepProgress, StepResult, StepResults, StepsProgressed
from contracts.history import ExecutionStatus, StepError, StepStatus
from contracts.workflow import WorkflowDefinition
from services.orchestrator.admission import Admission, Known
from services.orchestrator.affinity import Affinity
from services.orchestrator.engine import Cancel, ExecutionState, Forbidden, Start, advance, execution_plan
from services.orchestrator.intake import Intake
from services.orchestrator.mailbox import Item, Outcome, Receipt
from services.orchestrator.outgoing import BatchSizes
from services.runtime.envelope_codec import Outgoing
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.service import Received
from tests.support.committing import Desk, NotingDelivery


def result(step: str, *, agent_id: str = "a", attempt: int = 1, ok: bool = True) -> StepResult:
    error = None if ok else StepError(type="No", message="no")
    return StepResult(
        result_id=f"r-{step}-{agent_id}-{ok}",
        execution_id="e",
        step=step,
        attempt=attempt,
        ok=ok,
        error=error,
        agent_id=agent_id,
    )


def report(step: str, agent_id: str = "a") -> StepProgress:
    return StepProgress(
        execution_id="e", step=step, attempt=1, run_id="run", number=1, fraction=0.5, agent_id=agent_id, at=1_000.0
    )


async def statuses(desk: Desk, *steps: str) -> list[StepStatus]:
    plan = next(iter(desk.plans.values()))
    held = (await desk.states.read(["e"], {"e": plan}))["e"]
    return [held.state.step(step).status for step in steps]


async def begun(*steps: str, **step: Any) -> Desk:
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan(*steps, **step))])
    return desk


@pytest.mark.parametrize("answered_by", ["impostor", ""])
@pytest.mark.parametrize("ok", [True, False])
async def test_a_result_by_another_type_changes_nothing(answered_by: str, ok: bool) -> None:
    desk = await begun("s")
    delivery = NotingDelivery()
    await desk.committer.commit([Item("e", result("s", ok=ok), Receipt(delivery, 1), answered_by=answered_by)])
    assert delivery.settled == ["forbidden-sender"]
    assert await statuses(desk, "s") == [StepStatus.RUNNING]
    assert len(desk.store.log_of("e")) == 1
    right = NotingDelivery()
    await desk.committer.commit([Item("e", result("s"), Receipt(right, 1), answered_by="a")])
    assert (right.settled, await statuses(desk, "s")) == (["ack"], [StepStatus.SUCCEEDED])


async def test_a_report_by_another_type_extends_nothing() -> None:
    desk = await begun("s")
    delivery = NotingDelivery()
    desk.now += 100
    await desk.committer.commit([Item("e", report("s"), Receipt(delivery, 1), answered_by="impostor")])
    assert delivery.settled == ["forbidden-sender"]
    assert len(desk.store.log_of("e")) == 1
    await desk.committer.commit([Item("e", report("s"), Receipt(NotingDelivery(), 1), answered_by="a")])
    assert len(desk.store.log_of("e")) == 2


@pytest.mark.parametrize("agent_id", ["bob", "", "a"])
async def test_a_step_for_one_agent_is_not_anothers_of_its_type_to_answer(agent_id: str) -> None:
    desk = await begun("s", agent_id="ann")
    wrong, right = NotingDelivery(), NotingDelivery()
    for message in (result("s", agent_id=agent_id), report("s", agent_id)):
        await desk.committer.commit([Item("e", message, Receipt(wrong, 1), answered_by="a")])
    assert wrong.settled == ["forbidden-sender"] * 2
    await desk.committer.commit([Item("e", result("s", agent_id="ann"), Receipt(right, 1), answered_by="a")])
    assert (right.settled, await statuses(desk, "s")) == (["ack"], [StepStatus.SUCCEEDED])


async def test_of_a_batch_the_others_are_applied() -> None:
    """One message of results: the middle one is of a step that names another agent."""
    desk = Desk()
    steps = [
        {"id": "s", "agent_type": "a", "action": "do"},
        {"id": "t", "agent_type": "b", "action": "do"},
        {"id": "u", "agent_type": "a", "action": "do"},
    ]
    plan = execution_plan(WorkflowDefinition.model_validate({"name": "w", "steps": steps}), desk.limits)
    desk.plans[plan.definition_hash] = plan
    await desk.committer.commit([desk.started("e", plan)])
    delivery = NotingDelivery()
    receipt = Receipt(delivery, 3)
    items = [Item("e", result(step), receipt, place=i, answered_by="a") for i, step in enumerate("stu")]
    await desk.committer.commit(items)
    assert delivery.settled == ["forbidden-sender"]
    assert await statuses(desk, "s", "t", "u") == [StepStatus.SUCCEEDED, StepStatus.RUNNING, StepStatus.SUCCEEDED]
    # Replayed, it changes nothing and is refused once more.
    again = NotingDelivery()
    receipt = Receipt(again, 3)
    items = [Item("e", result(step), receipt, place=i, answered_by="a") for i, step in enumerate("stu")]
    await desk.committer.commit(items)
    assert again.settled == ["forbidden-sender"]
    assert len(desk.store.log_of("e")) == 2


async def test_it_is_refused_also_once_the_step_or_the_execution_has_ended() -> None:
    desk = await begun("s")
    await desk.committer.commit([Item("e", result("s"), Receipt(None, 1), answered_by="a")])
    late = NotingDelivery()
    await desk.committer.commit([Item("e", result("s"), Receipt(late, 1), answered_by="impostor")])
    assert late.settled == ["forbidden-sender"]


async def test_what_the_orchestrator_says_itself_needs_no_type() -> None:
    desk = Desk()
    desk.bus.no_queue_for = {"a.ghost.do"}
    await desk.committer.commit([desk.started("e", desk.plan("s", agent_id="ghost"))])
    await desk.committer.commit(desk.committer.mailbox.take(10))
    assert await statuses(desk, "s") == [StepStatus.FAILED]


def test_the_engine_judges_without_touching_the_state() -> None:
    desk = Desk()
    plan = desk.plan("s")
    state = ExecutionState("e", plan)
    advance(state, Start(plan.definition_hash, "h", "w"), 1.0)
    before = state.step("s")
    with pytest.raises(Forbidden, match="step 's' of e is for agent type 'a', not for 'b'"):
        advance(state, result("s"), 2.0, answered_by="b")
    assert (state.step("s"), state.unfinished) == (before, 1)


@pytest.mark.parametrize(("client", "cancelled"), [("shop", True), (None, True), ("thief", False), ("", False)])
async def test_a_client_cancels_what_it_started_and_nothing_else(client: str | None, cancelled: bool) -> None:
    desk = Desk()
    plan = desk.plan("s")
    start = Start(plan.definition_hash, "h", "w", client="shop")
    await desk.committer.commit([Item("e", start, Receipt(None, 1), plan=plan)])
    desk.states.forget(["e"])
    delivery, outcomes = NotingDelivery(), []

    def answer(outcome: Outcome) -> Outgoing[Any]:
        outcomes.append(outcome)
        return Outgoing(CancelAccepted(execution_id="e", status=ExecutionStatus.CANCELLED), to=topology.reply("r"))

    await desk.committer.commit([Item("e", Cancel("no", client), Receipt(delivery, 1), answer=answer)])
    assert delivery.settled == (["ack"] if cancelled else ["forbidden-sender"])
    assert await statuses(desk, "s") == [StepStatus.CANCELLED if cancelled else StepStatus.RUNNING]
    assert [bool(outcome.forbidden) for outcome in outcomes] == [not cancelled]


@pytest.mark.parametrize(
    ("signer", "client"),
    [
        (None, None),
        (Principal("edge", SenderKind.SERVICE, "k"), None),
        (Principal("coordinator_agent", SenderKind.AGENT, "k"), None),
        (Principal("shop", SenderKind.CLIENT, "k"), "shop"),
    ],
)
async def test_only_clients_are_kept_to_their_own(signer: Principal | None, client: str | None) -> None:
    desk = Desk()
    mailbox = desk.committer.mailbox
    delivery: Any = NotingDelivery()
    delivery.signer, delivery.reply_to = signer, ""
    await intake_of(desk).cancel(Received(wrap(CancelExecution(execution_id="e"), sender="x"), delivery))
    (item,) = mailbox.take(10)
    assert item.message == Cancel("", client)


def intake_of(desk: Desk) -> Intake:
    mailbox = desk.committer.mailbox
    parts: Any = (None, None, BatchSizes(), Admission(desk.store, mailbox, 10), Known(desk.store), Affinity())
    return Intake(mailbox, *parts)


@pytest.mark.parametrize(
    "message",
    [
        StepResults(reply_key="shard.0", agent_type="liar", results=(result("s"),)),
        StepsProgressed(reply_key="shard.0", agent_type="liar", reports=(report("s"),)),
    ],
)
async def test_the_intake_hands_on_who_answered(message: Any) -> None:
    desk = Desk()
    mailbox, intake = desk.committer.mailbox, intake_of(desk)
    delivery: Any = NotingDelivery()
    delivery.body, delivery.routing_key = b"x", "shard.0"
    received: Any = Received(wrap(message, sender="x"), delivery)
    await (intake.results if isinstance(message, StepResults) else intake.progress)(received)
    assert [item.answered_by for item in mailbox.take(10)] == ["liar"]
