"""A signal that the whole process group gets is not the death of a command in quarantine."""

import asyncio
import os
import signal

import pytest
from pydantic import BaseModel

from services.runtime.agent import BaseAgent, capability
from services.runtime.agent.step_context import StepContext
from services.runtime.hosting.quarantine import Quarantine


class Nap(BaseModel):
    seconds: float


class Woken(BaseModel):
    process: int


class Sleeper(BaseAgent):
    agent_type = "sleeper"

    @capability("sleep")
    async def sleep(self, request: Nap) -> Woken:
        """Sleeps, and says in which process."""
        await asyncio.sleep(request.seconds)
        return Woken(process=os.getpid())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_the_group_does_not_end_the_command(number: signal.Signals) -> None:
    quarantine = Quarantine()
    agent, context = Sleeper("sleeper", {}), StepContext("e", "s", 1)
    try:
        child = (await quarantine.run(agent, "sleep", {"seconds": 0}, context))["process"]
        work = asyncio.create_task(quarantine.run(agent, "sleep", {"seconds": 1}, context))
        await asyncio.sleep(0.3)
        os.kill(child, number)
        assert (await work)["process"] == child
    finally:
        await quarantine.stop()
