"""A command of a folder's plugin, run alone in a process that has never heard of the folder."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.plugin_agent.loading import Loaded
from services.runtime.agent import BaseAgent, CapabilityError, StepContext
from services.runtime.hosting.quarantine import AgentCrashed, Quarantine

SUPPORT = "def exit_code():\n    return 9\n"

RISKY = """
import os

from pydantic import BaseModel

from services.runtime.agent import BaseAgent, CapabilityError, capability

from .support import exit_code


class Order(BaseModel):
    what: str


class Report(BaseModel):
    pid: int
    greeting: str


class PluginTrouble(CapabilityError):
    pass


class Risky(BaseAgent):
    agent_type = "risky"

    @capability("do")
    def do(self, request: Order) -> Report:
        if request.what == "die":
            os._exit(exit_code())
        if request.what == "refuse":
            raise PluginTrouble("not today", code="Trouble")
        return Report(pid=os.getpid(), greeting=self.config["greeting"])
"""


@pytest.fixture
def risky(load: Callable[[dict[str, str]], Loaded]) -> type[BaseAgent]:
    loaded = load(
        {
            "risky/__init__.py": "from .agent import Risky as Risky\n",
            "risky/agent.py": RISKY,
            "risky/support.py": SUPPORT,
        }
    )
    assert loaded.faults == ()
    return loaded.classes["risky"]


@pytest.fixture
async def quarantine() -> AsyncIterator[Quarantine]:
    quarantine = Quarantine()
    yield quarantine
    await quarantine.stop()


async def test_a_plugin_that_kills_its_process_kills_only_the_child(
    risky: type[BaseAgent], quarantine: Quarantine
) -> None:
    async def do(what: str) -> dict[str, Any]:
        step = StepContext("execution", "step", 1)
        return await quarantine.run(risky("one", {"greeting": "hi"}), "do", {"what": what}, step)

    first = await do("work")
    assert first["greeting"] == "hi"
    with pytest.raises(CapabilityError, match="not today") as refused:
        await do("refuse")
    assert (type(refused.value).__name__, refused.value.code) == ("PluginTrouble", "Trouble")
    with pytest.raises(AgentCrashed, match="the process died while do ran alone"):
        await do("die")
    again = await do("work")
    assert again["greeting"] == "hi"
    assert again["pid"] != first["pid"]
