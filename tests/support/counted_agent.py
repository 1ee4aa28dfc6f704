"""An agent type whose agents note what they do, for tests that count it a second time."""

import asyncio
from collections import Counter
from typing import Any

from pydantic import BaseModel

from services.runtime.agent import BaseAgent, CapabilityError, Mail, capability, on_message


class Task(BaseModel):
    """``key`` is what the ledger counts by; the first ``fails`` of a key fail."""

    key: str = ""
    fails: int = 0
    after: Any = None


class Done(BaseModel):
    key: str


class Ledger:
    """What agents did: how often each action was begun, and how each of its runs ended."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.mail: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()


class CountedAgent(BaseAgent):
    """Its ledger is the class's, since an agent's configuration is plain JSON: each test makes a class of its own."""

    agent_type = "counted"
    ledger: Ledger

    @capability("work")
    async def work(self, task: Task) -> Done:
        """Does it, or fails as often as it is told to."""
        self._begin_task("work", task)
        if self.ledger.keys[task.key] <= task.fails:
            self.ledger.ended["work", "failed"] += 1
            raise CapabilityError("told to fail", code="ToldTo", retryable=True)
        return self._done("work", task)

    @capability("break")
    async def break_(self, task: Task) -> Done:
        """Fails for good."""
        self._begin_task("break", task)
        self.ledger.ended["break", "failed"] += 1
        raise CapabilityError("broken", code="Broken")

    @capability("dawdle")
    async def dawdle(self, task: Task) -> Done:
        """Takes longer than anybody waits, or until it is cancelled."""
        self._begin_task("dawdle", task)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    @capability("quit")
    async def quit(self, task: Task) -> Done:
        """Tries to end its process."""
        self._begin_task("quit", task)
        self.ledger.ended["quit", "crashed"] += 1
        raise SystemExit(3)

    @capability("look_up")
    async def look_up(self, task: Task) -> Done:
        """What a cache is for."""
        self._begin_task("look_up", task)
        return self._done("look_up", task)

    @on_message("hello")
    async def hello(self, mail: Mail) -> dict[str, Any]:
        return self._answer("answered")

    @on_message("nonsense")
    async def nonsense(self, mail: Mail) -> dict[str, Any]:
        self.ledger.mail["failed"] += 1
        raise CapabilityError("nonsense", code="Nonsense")

    @on_message("second_try")
    async def second_try(self, mail: Mail) -> dict[str, Any]:
        if mail.retry_count:
            return self._answer("answered")
        self.ledger.mail["retried"] += 1
        raise LookupError("not yet")

    def _begin_task(self, action: str, task: Task) -> None:
        self.ledger.begun[action] += 1
        self.ledger.keys[task.key] += 1

    def _done(self, action: str, task: Task) -> Done:
        self.ledger.ended[action, "succeeded"] += 1
        return Done(key=task.key)

    def _answer(self, outcome: str) -> dict[str, Any]:
        self.ledger.mail[outcome] += 1
        return {"outcome": outcome}
