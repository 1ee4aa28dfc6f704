"""The agent of a fault run, hosted by the ordinary agent host: ``python -m benchmarks.faults.agent``.

Its one action has an effect in the ledger, under its idempotency key, and gives the value that the ledger took.
"""

import asyncio
import os

from pydantic import BaseModel

from benchmarks.faults.ledger import SOCKET_VARIABLE, call_ledger
from benchmarks.faults.shapes import AGENT_TYPE, TOLD_TO_FAIL
from benchmarks.faults.values import step_value
from services.runtime.agent import BaseAgent, CapabilityError, capability, current_step
from services.runtime.bus.open import open_bus
from services.runtime.hosting.host import agent_service
from services.runtime.process import run_process
from services.runtime.settings import load_settings


class Work(BaseModel):
    """``takes`` are the values of steps before. The first ``failing`` attempts fail, after the effect if ``late``."""

    takes: dict[str, str | None]
    number: int
    milliseconds: int = 0
    failing: int = 0
    late: bool = False


class Done(BaseModel):
    value: str
    number: int


class FaultAgent(BaseAgent):
    agent_type = AGENT_TYPE

    @capability("work")
    async def work(self, request: Work) -> Done:
        """Write the ledger, wait, and give the value that was written."""
        context = current_step()
        if context is None:
            raise CapabilityError("this action needs a step: it has an effect under the step's key", code="NoStep")
        key = context.idempotency_key
        value = step_value(key, request.takes)
        fails = context.attempt <= request.failing
        call = {
            "execution_id": context.execution_id,
            "step": context.step,
            "attempt": context.attempt,
            "key": key,
            "value": value,
            "refuse": fails and not request.late,
        }
        answer = await call_ledger(self.config["ledger"], call)
        await asyncio.sleep(request.milliseconds / 1000)
        if fails:
            raise CapabilityError(f"attempt {context.attempt} of {key} is to fail", code=TOLD_TO_FAIL, retryable=True)
        if answer["what"] == "conflict":
            raise CapabilityError(f"the ledger has another value for {key}", code="Conflict")
        return Done(value=value, number=request.number)


def main() -> int:
    settings = load_settings()
    config = {"ledger": os.environ[SOCKET_VARIABLE]}
    return run_process(
        AGENT_TYPE,
        settings,
        lambda telemetry: [
            agent_service(
                FaultAgent,
                settings,
                open_bus(settings, AGENT_TYPE, telemetry=telemetry),
                config,
                telemetry=telemetry,
            )
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
