"""The ledger of a fault run, over its socket: one effect for a key, whoever asks how often."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.agent import Done, FaultAgent, Work
from benchmarks.faults.ledger import Ledger, call_ledger
from benchmarks.faults.values import step_value
from services.runtime.agent import CapabilityError
from services.runtime.agent.step_context import StepContext, working_on


def call(key: str, value: str, *, attempt: int = 1, refuse: bool = False) -> dict[str, Any]:
    execution_id, _, step = key.partition("/")
    return {
        "execution_id": execution_id,
        "step": step,
        "attempt": attempt,
        "key": key,
        "value": value,
        "refuse": refuse,
    }


async def test_a_key_is_effective_once(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    async with Ledger(tmp_path / "l", rows.append) as ledger:
        calls = [call("x/a", "v"), call("x/a", "v"), call("x/a", "w"), call("x/b", "v", refuse=True), call("x/b", "v")]
        answers = [await call_ledger(str(ledger.path), one) for one in calls]
        at_once = await asyncio.gather(*(call_ledger(str(ledger.path), call("x/c", "v")) for _ in range(20)))
    assert [answer["what"] for answer in answers] == ["effect", "repeat", "conflict", "refused", "effect"]
    assert sorted(answer["what"] for answer in at_once) == ["effect", *["repeat"] * 19]
    assert [row["seq"] for row in rows] == list(range(1, 26))
    assert ledger.effects == {"x/a": "v", "x/b": "v", "x/c": "v"}


async def test_who_dies_before_the_call_is_written_has_not_called(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    async with Ledger(tmp_path / "l", rows.append) as ledger:
        _, writer = await asyncio.open_unix_connection(ledger.path)
        writer.write(b'{"key": "x')
        writer.close()
        await call_ledger(str(ledger.path), call("x/a", "v"))
    assert [row["key"] for row in rows] == ["x/a"]


async def test_the_agent_writes_under_its_steps_key_and_fails_as_it_is_told(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    value = step_value("x/s", {"a": "1"})
    async with Ledger(tmp_path / "l", rows.append) as ledger:
        agent = FaultAgent("f", {"ledger": str(ledger.path)})

        async def run(attempt: int, **request: Any) -> Done:
            with working_on(StepContext("x", "s", attempt)):
                return await agent.work(Work(takes={"a": "1"}, number=1, **request))

        with pytest.raises(CapabilityError) as before_the_effect:
            await run(1, failing=1)
        with pytest.raises(CapabilityError):
            await run(2, failing=2, late=True)
        done = await run(3, failing=2, late=True)
        with pytest.raises(CapabilityError, match="needs a step"):
            await agent.work(Work(takes={}, number=1))
    assert (before_the_effect.value.code, before_the_effect.value.retryable) == ("ToldToFail", True)
    assert done == Done(value=value, number=1)
    assert [(row["attempt"], row["key"], row["what"]) for row in rows] == [
        (1, "x/s", "refused"),
        (2, "x/s", "effect"),
        (3, "x/s", "repeat"),
    ]
