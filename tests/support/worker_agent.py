"""An agent type for system tests, hosted like any other: it waits, writes a ledger, fails, or kills its process."""

import asyncio
import os
import time
from pathlib import Path

from pydantic import BaseModel

from services.runtime.agent import BaseAgent, Bid, CallForProposals, CapabilityError, Decline, capability
from services.runtime.bus.open import open_bus
from services.runtime.hosting.host import agent_service
from services.runtime.process import run_process
from services.runtime.settings import load_settings


class Work(BaseModel):
    """A line ``key`` in the ledger; ``milliseconds`` of waiting; more of it until there is a file ``until``; failures
    until the ledger has ``fail_times`` lines of the key; ``die`` ends the process as a crash does."""

    key: str
    milliseconds: int = 0
    until: str = ""
    fail_times: int = 0
    die: bool = False
    after: object = None


class Done(BaseModel):
    key: str
    pid: int


class WorkerAgent(BaseAgent):
    """One whose configuration says ``silent`` never answers a call for proposals."""

    agent_type = "worker"

    async def bid(self, call: CallForProposals) -> Bid | Decline | None:
        if self.config.get("silent"):
            await asyncio.Event().wait()
        return await super().bid(call)

    @capability("work")
    def work(self, request: Work) -> Done:
        """Do what the request says."""
        ledger = Path(self.config["ledger"])
        with ledger.open("a") as lines:
            lines.write(request.key + "\n")
        if request.die:
            os._exit(9)
        time.sleep(request.milliseconds / 1000)
        while request.until and not Path(request.until).exists():
            time.sleep(0.02)
        if ledger.read_text().splitlines().count(request.key) <= request.fail_times:
            raise CapabilityError(f"{request.key} is to fail", code="ToldToFail", retryable=True)
        return Done(key=request.key, pid=os.getpid())


if __name__ == "__main__":
    settings = load_settings()
    config = {"ledger": os.environ["WORKER_LEDGER"]}
    raise SystemExit(
        run_process(
            "worker",
            settings,
            lambda telemetry: [
                agent_service(
                    WorkerAgent,
                    settings,
                    open_bus(settings, "worker", telemetry=telemetry),
                    config,
                    telemetry=telemetry,
                )
            ],
        )
    )
