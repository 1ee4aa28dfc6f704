"""A running coordinator agent, and the two ways to call it that most tests need."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from services.coordinator_agent.agent import CoordinatorAgent
from services.runtime.agent import CapabilityError

Call = Callable[..., Awaitable[dict[str, Any]]]
Refused = Callable[..., Awaitable[CapabilityError]]


@pytest.fixture
async def coordinator() -> AsyncIterator[CoordinatorAgent]:
    agent = CoordinatorAgent("coordinator-1")
    await agent.start()
    yield agent
    await agent.stop()


@pytest.fixture
def vote(coordinator: CoordinatorAgent) -> Call:
    async def call(ballots: Any, method: str, **options: Any) -> dict[str, Any]:
        return await coordinator.perform("vote", {"ballots": ballots, "method": method, **options})

    return call


@pytest.fixture
def aggregate(coordinator: CoordinatorAgent) -> Call:
    async def call(items: Any, strategy: str, **options: Any) -> dict[str, Any]:
        return await coordinator.perform("aggregate", {"items": items, "strategy": strategy, **options})

    return call


@pytest.fixture
def refused() -> Refused:
    """Await a call that must be refused, and give the error."""

    async def call(answer: Awaitable[Any]) -> CapabilityError:
        with pytest.raises(CapabilityError) as caught:
            await answer
        return caught.value

    return call
