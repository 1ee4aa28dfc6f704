"""Each execution has a line for its start and one for its end, whatever is repeated."""

from typing import Any

from structlog.testing import capture_logs

from contracts.history import StepError
from services.orchestrator.engine import Cancel
from services.orchestrator.mailbox import Item, Receipt
from tests.support.committing import Desk, NotingDelivery, result


def failed(execution_id: str, step: str) -> Item:
    item = result(execution_id, step)
    message = item.message.model_copy(update={"ok": False, "error": StepError(type="X", message="x")})
    return Item(execution_id, message, Receipt(None, 1))


def of_executions(logs: list[Any]) -> list[dict[str, Any]]:
    return [line for line in logs if line["event"].startswith("execution ")]


async def test_a_start_and_an_end_are_said_once_with_everything_that_finds_them() -> None:
    desk = Desk()
    plan = desk.plan("s", "t")
    with capture_logs() as logs:
        await desk.committer.commit([desk.started("e", plan)])
        await desk.committer.commit([desk.started("e", plan)])
        await desk.committer.commit([result("e", "s")])
        desk.now += 1.5
        await desk.committer.commit([result("e", "t"), result("e", "t")])
        await desk.committer.commit([result("e", "t")])
    started, ended = of_executions(logs)
    ids = {"execution_id": "e", "correlation_id": "", "workflow_id": None, "workflow_name": "w", "log_level": "info"}
    assert started == {"event": "execution started", "steps": 2, "client": "", **ids}
    assert ended == {"event": "execution ended", "status": "completed", "seconds": 1.5, "failed_steps": 0, **ids}


async def test_how_it_ended_is_said() -> None:
    desk = Desk()
    plan = desk.plan("s")
    with capture_logs() as logs:
        await desk.committer.commit([desk.started("e1", plan), desk.started("e2", plan)])
        await desk.committer.commit([failed("e1", "s"), Item("e2", Cancel(), Receipt(NotingDelivery(), 1))])
    ends = {line["execution_id"]: line for line in of_executions(logs) if line["event"] == "execution ended"}
    assert {one: (ends[one]["status"], ends[one]["failed_steps"]) for one in ends} == {
        "e1": ("failed", 1),
        "e2": ("cancelled", 0),
    }


async def test_two_replicas_say_it_once_between_them() -> None:
    one, other = Desk(), Desk()
    other.store.rows = one.store.rows
    plan = one.plan("s")
    other.plans[plan.definition_hash] = plan
    with capture_logs() as logs:
        await one.committer.commit([one.started("e", plan)])
        await other.committer.commit([other.started("e", plan)])
        await other.committer.commit([result("e", "s")])
        await one.committer.commit([result("e", "s")])  # what it has in its cache is older than that
    assert [line["event"] for line in of_executions(logs)] == ["execution started", "execution ended"]
