"""From a command to a result: every failure by its name."""

import asyncio
import os
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.execution import StepCommand, StepResult
from services.runtime.agent.base import BaseAgent
from services.runtime.agent.capability import CapabilityError, capability
from services.runtime.agent.step_context import current_step
from services.runtime.hosting.cancellation import Cancellations
from services.runtime.hosting.outcomes import LARGEST_OUTPUT
from services.runtime.hosting.performer import Performer
from services.runtime.hosting.progress import ProgressSender
from services.runtime.hosting.quarantine import Quarantine
from services.runtime.service import Outbox
from tests.support.committing import NotingBus


class Wish(BaseModel):
    what: str


class Anything(BaseModel):
    value: Any


class Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Genie(BaseAgent):
    agent_type = "genie"

    @capability("grant")
    async def grant(self, wish: Wish) -> Anything:
        match wish.what:
            case "nan":
                return Anything(value=float("nan"))
            case "depth":
                value: Any = 1
                for _ in range(120):
                    value = [value]
                return Anything(value=value)
            case "much":
                return Anything(value="x" * LARGEST_OUTPUT)
            case "time":
                await asyncio.sleep(60)
            case "refusal":
                raise CapabilityError("no", code="NotToday", retryable=True, details={"day": "Monday"})
            case "surprise":
                raise LookupError("where is it?")
            case "key":
                step = current_step()
                return Anything(value=step and step.idempotency_key)
            case "exit":
                sys.exit(3)
            case "cancelled":
                raise asyncio.CancelledError
            case "odd details":
                raise CapabilityError("bad \udc80 text", details={"thing": object()})
            case "odd code":
                raise CapabilityError("not found", code=404)  # type: ignore[arg-type]
            case "unsayable":
                raise Unsayable
            case "death":
                os._exit(9)
        return Anything(value=wish.what)

    @capability("run_out")
    def run_out(self, wish: Wish) -> Anything:
        return Anything(value=next(iter([])))


async def perform(what: str, *, alone: bool = False, timeout: float = 30.0, quarantine: Any = None) -> StepResult:
    agent = Genie("g")
    await agent.start()
    command = StepCommand(
        execution_id="e", step="s", attempt=1, inputs={"what": what}, timeout=timeout, reply_key="shard.0"
    )
    progress = ProgressSender(Outbox(NotingBus(), "host"))  # type: ignore[arg-type]
    performer = Performer(quarantine or Quarantine(), progress, Cancellations())
    result, _ = await performer.perform(agent, "grant", command, alone=alone)
    return result


async def test_a_result_says_who_and_when() -> None:
    result = await perform("gold")
    assert (result.ok, result.output, result.agent_id, result.attempt) == (True, {"value": "gold"}, "g", 1)
    assert result.started_at is not None
    assert result.finished_at is not None
    assert result.started_at <= result.finished_at


@pytest.mark.parametrize(
    ("what", "error", "retryable"),
    [
        ("nan", "InvalidOutput", False),
        ("depth", "InvalidOutput", False),
        ("much", "OutputTooLarge", False),
        ("refusal", "NotToday", True),
        ("surprise", "LookupError", True),
        ("exit", "AgentCrashed", True),
        ("cancelled", "AgentCrashed", True),
        ("odd details", "CapabilityError", False),
    ],
)
async def test_failures_have_names(what: str, error: str, retryable: bool) -> None:
    result = await perform(what)
    assert not result.ok
    assert result.error is not None
    assert (result.error.type, result.error.retryable) == (error, retryable)
    assert result.model_dump_json()  # and can be sent


@pytest.mark.parametrize("alone", [False, True])
async def test_a_capability_can_ask_for_its_idempotency_key(alone: bool) -> None:
    quarantine = Quarantine()
    try:
        assert (await perform("key", alone=alone, quarantine=quarantine)).output == {"value": "e/s"}
        assert current_step() is None
    finally:
        await quarantine.stop()


async def test_a_timeout_is_the_hosts() -> None:
    result = await perform("time", timeout=0.05)
    assert result.error is not None
    assert (result.error.type, result.error.message) == ("Timeout", "grant did not finish within 0.05 s")


async def test_a_command_alone_dies_alone_and_the_next_one_runs() -> None:
    quarantine = Quarantine()
    try:
        died = await perform("death", alone=True, quarantine=quarantine)
        assert died.error is not None
        assert died.error.type == "AgentCrashed"
        assert (await perform("gold", alone=True, quarantine=quarantine)).output == {"value": "gold"}
        refused = await perform("refusal", alone=True, quarantine=quarantine)
        assert refused.error is not None
        assert (refused.error.type, refused.error.details) == ("NotToday", {"day": "Monday"})
        left = await perform("exit", alone=True, quarantine=quarantine)
        assert left.error is not None
        assert left.error.type == "AgentCrashed"
        _kill_idle_child(quarantine)
        assert (await perform("gold", alone=True, quarantine=quarantine)).ok
    finally:
        await quarantine.stop()


def _kill_idle_child(quarantine: Quarantine) -> None:
    pool = quarantine._pool
    if pool is not None:
        for process in list(pool._processes.values()):
            process.kill()
            process.join()


@pytest.mark.parametrize(("what", "code"), [("odd code", "404"), ("unsayable", "Unsayable")])
async def test_an_error_that_is_no_proper_one_fails_the_attempt_and_not_the_host(what: str, code: str) -> None:
    result = await perform(what)
    assert result.error is not None
    assert result.error.type == code
    assert result.model_dump_json()


async def test_a_thread_that_raises_stop_iteration_fails_at_once() -> None:
    agent = Genie("g")
    await agent.start()
    with pytest.raises(RuntimeError, match="run_out raised StopIteration"):
        async with asyncio.timeout(20):
            await agent.perform("run_out", {"what": ""})
