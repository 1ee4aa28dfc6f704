"""How an execution stands, as the log says it."""

from typing import Any, cast

import pytest

from contracts.execution import DescribeExecution, ExecutionCompleted, ExecutionDescribed
from contracts.history import ExecutionStatus
from services.orchestrator.describing import Describing
from services.orchestrator.engine import Cancel, Limits
from services.orchestrator.mailbox import Item
from services.orchestrator.payloads import reference
from services.runtime.service import Refusal
from tests.support.committing import Desk, result


class Asked:
    """A message received, and what is replied to it."""

    def __init__(self, execution_id: str, *, wants_reply: bool = True) -> None:
        self.message = DescribeExecution(execution_id=execution_id)
        self.wants_reply = wants_reply

    def reply(self, message: Any) -> Any:
        return message


async def describe(desk: Desk, execution_id: str = "e", **how: Any) -> list[Any]:
    asked = cast(Any, Asked(execution_id, **how))
    return list(await Describing(desk.store, cast(Any, desk.plans)).describe(asked))


async def test_a_running_execution_says_how_many_of_its_steps_have_ended() -> None:
    desk = Desk(Limits())
    await desk.committer.commit([desk.started("e", desk.plan("s", "t", "u"))])
    await desk.committer.commit([result("e", "t")])
    expected = ExecutionDescribed(execution_id="e", status=ExecutionStatus.RUNNING, done=1, steps=3)
    assert await describe(desk) == [expected]
    assert await describe(desk, wants_reply=False) == []


async def test_one_that_has_ended_says_what_the_event_of_its_end_said() -> None:
    desk = Desk(Limits())
    large = {"text": "x" * 100_000}
    await desk.committer.commit([desk.started("e", desk.plan("s", "t"))])
    items = [result("e", "s"), result("e", "t")]
    stored = reference("e", large)
    assert stored is not None
    items[1].message = items[1].message.model_copy(update={"output": large, "output_ref": stored})  # type: ignore[union-attr]
    await desk.committer.commit(items)
    (end,) = [message for message in desk.bus.messages if isinstance(message, ExecutionCompleted)]
    (answer,) = await describe(desk)
    assert (answer.status, answer.done, answer.steps) == (ExecutionStatus.COMPLETED, 2, 2)
    assert answer.outputs == end.outputs == {"s": None, "t": stored.model_dump()}
    assert (answer.errors, answer.reason) == ({}, "")


async def test_a_cancelled_one_gives_the_reason() -> None:
    desk = Desk(Limits())
    await desk.committer.commit([desk.started("e", desk.plan("s", "t"))])
    await desk.committer.commit([result("e", "s"), Item("e", Cancel("enough of it"))])
    (answer,) = await describe(desk)
    assert (answer.status, answer.reason, answer.done) == (ExecutionStatus.CANCELLED, "enough of it", 2)
    assert answer.outputs == {"s": None}


async def test_one_that_never_started_is_not_found() -> None:
    with pytest.raises(Refusal) as caught:
        await describe(Desk(), "nobody")
    assert (caught.value.refused.code, caught.value.refused.subject) == ("not_found", "nobody")
