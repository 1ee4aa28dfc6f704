"""What the orchestrator counts: what its own appends stored, once, whatever happens on the way."""

import asyncio
import math
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contracts.execution import ExecutionAccepted, Refused, StepResult, WakeUp
from contracts.history import StepError
from contracts.topology import reply
from services.orchestrator.engine import Cancel, Limits
from services.orchestrator.mailbox import Item, Outcome
from services.runtime.bus.base import BusUnavailable
from services.runtime.envelope_codec import Outgoing
from services.runtime.store.base import StoreUnavailable
from services.runtime.telemetry.bounds import LONGEST
from tests.support.committing import Desk, result

ACTION = {"agent_type": "a", "action": "do"}
RETRY = {"max_attempts": 3, "backoff": 0, "on": ["Oops", "Timeout", "LeaseExpired"]}


def seen(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


def counted(desk: Desk) -> dict[str, float]:
    """Every figure that is not zero, but for how long commits took and the buckets; of an action without its name."""
    found: dict[str, float] = {}
    for family in desk.registry.collect():
        for sample in family.samples:
            if sample.value and not sample.name.endswith(("_created", "_bucket")) and "commit" not in sample.name:
                more = [value for label, value in sample.labels.items() if label not in ACTION]
                name = sample.name.removeprefix("conclave_")
                found[" ".join([name, *more])] = sample.value
    return found


def failure(execution_id: str, step: str, attempt: int, kind: str, **more: Any) -> Item:
    error = StepError(type=kind, message="no", retryable=True)
    message = StepResult(
        result_id=f"{execution_id}/{step}/{attempt}!",
        execution_id=execution_id,
        step=step,
        attempt=attempt,
        ok=False,
        error=error,
        **more,
    )
    return Item(execution_id, message)


def success(execution_id: str, step: str, attempt: int, **more: Any) -> Item:
    message = StepResult(
        result_id=f"{execution_id}/{step}/{attempt}",
        execution_id=execution_id,
        step=step,
        attempt=attempt,
        ok=True,
        **more,
    )
    return Item(execution_id, message)


async def test_every_attempt_is_measured_against_its_own_sending() -> None:
    """Also where the failure of one and the sending of the next are one entry."""
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s", retry=RETRY))])
    desk.now += 10
    await desk.committer.commit([failure("e", "s", 1, "Timeout", started_at=1_002.0, finished_at=1_009.0)])
    desk.now += 10
    await desk.committer.commit([failure("e", "s", 2, "Oops", started_at=1_013.0, finished_at=1_014.0)])
    desk.now += 10
    await desk.committer.commit([success("e", "s", 3, started_at=1_024.0, finished_at=1_026.5)])
    assert counted(desk) == {
        "executions_started_total": 1,
        "executions_ended_total completed": 1,
        "execution_duration_seconds_count completed": 1,
        "execution_duration_seconds_sum completed": 30,
        "steps_dispatched_total": 3,
        "step_retries_total": 2,
        "step_timeouts_total": 1,
        "steps_ended_total succeeded": 1,
        "step_wait_seconds_count": 3,
        "step_wait_seconds_sum": 2 + 3 + 4,
        "step_run_seconds_count": 3,
        "step_run_seconds_sum": 7 + 1 + 2.5,
    }


async def test_a_late_success_of_an_earlier_attempt_is_measured_against_that_one() -> None:
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s", retry=RETRY))])
    desk.now += 10
    await desk.committer.commit([failure("e", "s", 1, "Oops")])
    await desk.committer.commit([success("e", "s", 1, started_at=1_001.0, finished_at=1_009.0)])
    found = counted(desk)
    assert found["step_wait_seconds_sum"] == 1
    assert found["step_run_seconds_sum"] == 8


async def test_what_a_lease_does_is_counted() -> None:
    desk = Desk(Limits(default_timeout=5.0, lease=5.0))
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    for _ in range(2):
        desk.now += 10
        await desk.committer.commit([Item("e", WakeUp(execution_id="e", due=desk.now))])
    await desk.committer.commit([desk.started("f", desk.plan("s"))])
    await desk.committer.commit([Item("f", WakeUp(execution_id="f", due=desk.now, restart=True))])
    found = counted(desk)
    assert found["step_resends_total lease"] == 1
    assert found["step_resends_total restart"] == 1
    assert found["step_timeouts_total"] == 1
    assert found["steps_ended_total failed"] == 1
    assert found["executions_ended_total failed"] == 1
    assert "step_wait_seconds_count" not in found
    assert "step_retries_total" not in found


async def test_skipped_and_cancelled_steps() -> None:
    desk = Desk()
    plan = desk.plan("s", "t")
    await desk.committer.commit([desk.started("e", plan), desk.started("f", desk.plan("u", when="false"))])
    await desk.committer.commit([result("e", "s"), Item("e", Cancel())])
    found = counted(desk)
    assert found["steps_ended_total skipped"] == 1
    assert found["steps_ended_total succeeded"] == 1
    assert found["steps_ended_total cancelled"] == 1
    assert found["executions_ended_total completed"] == 1
    assert found["executions_ended_total cancelled"] == 1


async def test_an_answer_from_the_cache_waited_and_did_not_run() -> None:
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    await desk.committer.commit([success("e", "s", 1, cached=True, started_at=1_001.0, finished_at=1_001.0)])
    found = counted(desk)
    assert found["step_wait_seconds_count"] == 1
    assert "step_run_seconds_count" not in found


@pytest.mark.parametrize("seconds", [-5.0, math.nan, math.inf, 1e300])
async def test_times_that_cannot_be_do_not_spoil_the_sums(seconds: float) -> None:
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    await desk.committer.commit([success("e", "s", 1, started_at=1_000.0, finished_at=1_000.0 + seconds)])
    found = counted(desk)
    assert found["step_run_seconds_count"] == 1
    assert 0 <= found.get("step_run_seconds_sum", 0.0) <= LONGEST


async def test_results_that_change_nothing_are_late_once_each() -> None:
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s", "t"))])
    twice = [success("e", "s", 1), success("e", "s", 1)]
    await desk.committer.commit(twice)
    assert counted(desk)["late_results_total"] == 1
    desk.bus.failures = [BusUnavailable("away"), BusUnavailable("still away")]
    await desk.committer.commit([success("e", "s", 1), success("e", "t", 1)])
    found = counted(desk)
    assert found["late_results_total"] == 2
    assert found["steps_ended_total succeeded"] == 2
    assert seen(desk.registry, "conclave_commits_put_off_total") >= 1


async def test_a_start_under_an_id_that_is_taken_is_a_refused_one() -> None:
    def answer(outcome: Outcome) -> Outgoing[Any]:
        told = Refused(code="conflict", message="no") if outcome.conflict else ExecutionAccepted(execution_id="e")
        return Outgoing(told, to=reply("asker"))

    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s"), answer=answer)])
    desk.bus.failures = [BusUnavailable("away")]
    await desk.committer.commit([desk.started("e", desk.plan("other"), answer=answer)])
    found = counted(desk)
    assert found["starts_refused_total conflict"] == 1
    assert found["executions_started_total"] == 1


async def test_of_replicas_each_counts_what_it_appended() -> None:
    """They race for every entry, and together they count it once."""
    first = Desk()
    second = Desk(store=first.store)
    plan = first.plan("s", "t", retry=RETRY)
    second.plans.update(first.plans)
    second.now += 0.5  # two clocks are never the same
    for items in (
        lambda desk: [desk.started("e", plan)],
        lambda desk: [failure("e", "s", 1, "Timeout", started_at=1.0, finished_at=2.0), success("e", "t", 1)],
        lambda desk: [success("e", "s", 2, started_at=1.0, finished_at=2.0)],
    ):
        await asyncio.gather(*(desk.committer.commit(items(desk)) for desk in (first, second)))
    together = {
        name: counted(first).get(name, 0) + counted(second).get(name, 0)
        for name in {**counted(first), **counted(second)}
        if name != "late_results_total"
    }
    assert together["executions_started_total"] == 1
    assert together["executions_ended_total completed"] == 1
    assert together["steps_dispatched_total"] == 3
    assert together["steps_ended_total succeeded"] == 2
    assert together["step_timeouts_total"] == together["step_retries_total"] == 1
    assert together["step_run_seconds_count"] == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_append_whose_answer_was_lost_is_counted_if_it_landed(moment: str) -> None:
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    lost = 2

    async def lose_answers(operation: str, when: str) -> None:
        nonlocal lost
        if operation == "append" and when == moment and lost:
            lost -= 1
            raise StoreUnavailable("gone")

    desk.store.hook = lose_answers
    await desk.committer.commit([success("e", "s", 1), desk.started("f", desk.plan("s"))])
    found = counted(desk)
    assert len(desk.store.log_of("e")) == 2
    assert found["executions_started_total"] == 2
    assert found["executions_ended_total completed"] == 1
    assert found["steps_ended_total succeeded"] == 1
    assert found["steps_dispatched_total"] == 2


async def test_an_append_that_lands_after_another_was_made_in_its_place_is_counted() -> None:
    """A store may have taken it and not show it yet: what is read then is as if it had not been sent."""
    desk = Desk()
    await desk.committer.commit([desk.started("e", desk.plan("s"))])
    append, read_log = desk.store.append, desk.store.read_log
    sent: list[Any] = []

    async def append_late(entries: Any) -> set[str]:
        if not sent:
            sent.extend(entries)
            raise StoreUnavailable("no answer")
        if len(sent) == 1:
            sent.append(None)
            await append(sent[:1])  # now it lands, and the one that was made in its place loses
        return await append(entries)

    async def read(after: Any) -> Any:
        desk.now += 1
        return await read_log(after)

    desk.store.append, desk.store.read_log = append_late, read  # type: ignore[method-assign]
    await desk.committer.commit([success("e", "s", 1)])
    assert len(desk.store.log_of("e")) == 2
    assert desk.store.log_of("e")[1].at < desk.now - 1
    found = counted(desk)
    assert found["executions_ended_total completed"] == found["steps_ended_total succeeded"] == 1


async def test_how_commits_go_is_counted() -> None:
    desk = Desk()
    plan = desk.plan("s")
    await desk.committer.commit([desk.started("e", plan), desk.started("f", plan), desk.started("g", plan)])
    await desk.committer.commit([result("e", "s")])
    registry = desk.registry
    assert seen(registry, "conclave_commit_items_count") == 2
    assert seen(registry, "conclave_commit_items_sum") == 4
    assert seen(registry, "conclave_commit_items_bucket", le="1.0") == 1
    assert seen(registry, "conclave_commit_record_seconds_count") == 2
    assert seen(registry, "conclave_commit_tell_seconds_count") == 2
    assert seen(registry, "conclave_commits_put_off_total") == 0
