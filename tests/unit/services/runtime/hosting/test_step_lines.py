"""Each attempt has one line that says how it ended; what the work itself logs says which attempt that was."""

import asyncio
import json
import warnings
from typing import Any

import pytest
import structlog
from pydantic import BaseModel

from contracts.execution import RunSteps, StepCommand
from services.runtime.agent.base import BaseAgent
from services.runtime.agent.capability import CapabilityError, capability
from services.runtime.correlation import holding
from services.runtime.hosting.agents import Agents
from services.runtime.hosting.cancellation import Cancellations
from services.runtime.hosting.performer import Performer
from services.runtime.hosting.progress import ProgressSender
from services.runtime.hosting.quarantine import Quarantine
from services.runtime.hosting.results import ResultSender
from services.runtime.hosting.worker import NAMED, Worker
from services.runtime.logs import logging_elsewhere
from services.runtime.service import Outbox, Received
from services.runtime.settings import Settings
from tests.support.committing import NotingBus, NotingDelivery
from tests.support.log_capture import captured_lines

log = structlog.get_logger("test")


class Wish(BaseModel):
    what: str = ""


class Singer(BaseAgent):
    agent_type = "singer"

    @capability("sing")
    async def sing(self, wish: Wish) -> Wish:
        if wish.what == "refusal":
            raise CapabilityError("no voice, password=hunter2", code="Hoarse")
        if wish.what == "surprise":
            raise LookupError("where is it?")
        await asyncio.sleep(3_600 if wish.what == "for ever" else 0)
        log.info("sung")
        return wish

    @capability("hum")
    def hum(self, wish: Wish) -> Wish:
        log.info("hummed")
        warnings.warn("off key", UserWarning, stacklevel=1)
        return wish


class Stage:
    """A worker with one agent, whose commands are of executions that are called as their steps are."""

    def __init__(self, quarantine: Quarantine | None = None, drain_timeout: float = 20.0) -> None:
        outbox = Outbox(NotingBus(), "stage")  # type: ignore[arg-type]
        self.cancellations = Cancellations()
        agents = Agents([Singer("singer")], lambda _: None)  # type: ignore[arg-type, return-value]
        performer = Performer(quarantine or Quarantine(), ProgressSender(outbox), self.cancellations)
        self.agents = agents
        self.worker = Worker(agents, performer, ResultSender(outbox, 1), patience=0.01, drain_timeout=drain_timeout)

    async def run(self, *commands: StepCommand, action: str = "sing", **more: Any) -> None:
        """Start these, as one message under another name; ``worker.stop`` waits for their end."""
        message = RunSteps(agent_type="singer", action=action, commands=commands, **more)
        with holding("stage", correlation_id="of the batch"):
            await self.worker.run(Received(Envelope(message), NotingDelivery()))  # type: ignore[arg-type]

    async def until_under_way(self, command_id: str) -> None:
        async with asyncio.timeout(60):
            while command_id not in self.cancellations._under_way:
                await asyncio.sleep(0)


class Envelope:
    def __init__(self, payload: RunSteps) -> None:
        self.payload = payload


def command(step: str, what: str = "", **more: Any) -> StepCommand:
    defaults = {"attempt": 1, "timeout": 5.0, "reply_key": "shard.0"}
    return StepCommand(
        execution_id=f"e-{step}",
        step=step,
        correlation_id=f"c-{step}",
        inputs={"what": what},
        **{**defaults, **more},
    )


def about(step: str, attempt: int = 1, agent_id: str = "singer") -> dict[str, Any]:
    return {
        "service": "stage",
        "correlation_id": f"c-{step}",
        "execution_id": f"e-{step}",
        "step": step,
        "attempt": attempt,
        "agent_type": "singer",
        "agent_id": agent_id,
    }


def where(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line.get(name) for name in about("")}


async def test_each_attempt_has_one_line_and_says_which_it_is() -> None:
    stage = Stage()
    with captured_lines(service="conclave") as lines:
        await stage.agents.start()
        cached = command("cached", cache_ttl=60)
        await stage.run(cached)
        await stage.worker.stop()
        await stage.run(
            command("good", attempt=3),
            command("refused", "refusal"),
            command("surprised", "surprise"),
            command("late", "for ever", timeout=0.01),
            cached,
        )
        await stage.worker.stop()
    ends = {line["step"]: line for line in lines if line["event"].startswith("step ")}
    assert len([line for line in lines if line["event"].startswith("step ")]) == 6
    assert where(ends["good"]) == about("good", 3)
    assert all(where(ends[step]) == about(step) for step in ends if step != "good")
    assert {step: (ends[step]["event"], ends[step].get("error")) for step in ends} == {
        "good": ("step succeeded", None),
        "cached": ("step succeeded", None),
        "refused": ("step failed", "Hoarse"),
        "surprised": ("step failed", "LookupError"),
        "late": ("step failed", "Timeout"),
    }
    assert ends["refused"]["detail"] == "no voice, password=***"
    assert ends["cached"]["cached"], "the second time"
    assert ends["late"]["seconds"] >= 0.01
    assert {line["level"] for line in ends.values()} == {"info"}
    (traceback,) = [line for line in lines if line["event"] == "capability raised"]
    assert where(traceback) == about("surprised")
    assert traceback["exception"].endswith("LookupError: where is it?")


async def test_what_the_work_says_in_a_thread_or_beside_other_work_is_its_own() -> None:
    stage = Stage()
    with captured_lines(service="conclave") as lines:
        await stage.agents.start()
        steps = [f"s{i}" for i in range(20)]
        await stage.run(*map(command, steps))
        await stage.run(command("in-thread"), action="hum")
        await stage.worker.stop()
    sung = [line for line in lines if line["event"] == "sung"]
    assert sorted(map(str, map(where, sung))) == sorted(str(about(step)) for step in steps)
    assert [where(line) for line in lines if line["event"] in ("hummed", "Python warning")] == [about("in-thread")] * 2


async def test_a_cancelled_attempt_and_one_that_nobody_runs_are_said_so() -> None:
    stage = Stage()
    with captured_lines() as lines:
        await stage.agents.start()
        await stage.run(command("begun", "for ever"))
        await stage.until_under_way("e-begun/begun/1")
        stage.cancellations.cancel(["e-begun/begun/1"])
        await stage.worker.stop()
        await stage.run(command("lost"), agent_id="gone")
        await stage.worker.stop()
    told, cancelled, lost = lines
    assert (told["event"], told["execution_id"], told["step"], told["attempt"]) == (
        "work cancelled",
        "e-begun",
        "begun",
        1,
    )
    assert (cancelled["event"], where(cancelled)) == ("step cancelled", about("begun"))
    assert (lost["event"], lost["error"], where(lost)) == (
        "step failed",
        "UnknownAgent",
        about("lost", agent_id="gone"),
    )


async def test_what_does_not_end_in_time_is_said_to_go_back_up_to_a_number() -> None:
    stage = Stage(drain_timeout=0.05)
    with captured_lines() as lines:
        await stage.agents.start()
        await stage.run(command("done"), *(command(f"s{i}", "for ever", attempt=2) for i in range(NAMED + 3)))
        async with asyncio.timeout(60):
            while "e-done/done/1" in stage.cancellations._under_way or len(stage.cancellations._under_way) < NAMED + 3:
                await asyncio.sleep(0)
        for _ in range(100):  # for what is left to do of one that has ended
            await asyncio.sleep(0)
        await stage.worker.stop()
    given_back = [line for line in lines if line["event"] == "step given back, it did not end in time"]
    assert [(line["execution_id"], line["step"], line["attempt"]) for line in given_back] == [
        (f"e-s{i}", f"s{i}", 2) for i in range(NAMED)
    ]
    assert {line["level"] for line in given_back} == {"warning"}
    assert [line["steps"] for line in lines if line["event"] == "more steps given back"] == [3]


async def test_what_is_said_in_quarantine_is_a_line_like_any_other(capfd: pytest.CaptureFixture[str]) -> None:

    quarantine = Quarantine(logging_elsewhere(Settings(log_format="json"), "stage"))
    stage = Stage(quarantine)
    await stage.agents.start()
    await stage.run(command("alone"), action="hum", quarantine=True)
    await stage.worker.stop()
    await quarantine.stop()
    written = capfd.readouterr().err.splitlines()
    lines = [json.loads(line) for line in written if line.startswith("{")]
    assert [(line["event"], where(line)) for line in lines] == [
        ("hummed", about("alone")),
        ("Python warning", about("alone")),
    ]
