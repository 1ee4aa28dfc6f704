"""How the tests of the decision agent ask it: on plain JSON, as a host does."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from services.decision_agent.agent import DecisionAgent
from services.decision_agent.request_models import MakeDecision
from services.runtime.agent import CapabilityError


def make_decision(config: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    """A decision as JSON; the round trip refuses NaN and Infinity."""
    agent = DecisionAgent("decider", config)
    answer = agent.make_decision(MakeDecision.model_validate(inputs))
    return json.loads(json.dumps(answer.model_dump(mode="json"), allow_nan=False))


@pytest.fixture(scope="session")
def decide() -> Callable[..., dict[str, Any]]:
    return make_decision


@pytest.fixture(scope="session")
def refusal() -> Callable[..., CapabilityError]:
    """Ask for a decision that must be refused, and return the refusal."""

    def ask(config: dict[str, Any] | None = None, **inputs: Any) -> CapabilityError:
        with pytest.raises(CapabilityError) as caught:
            make_decision(config, **inputs)
        assert not caught.value.retryable
        return caught.value

    return ask


@pytest.fixture(scope="session")
def table() -> Callable[..., list[dict[str, Any]]]:
    """Records from a matrix: named A, B, C ... with columns c0, c1, c2 ..."""

    def build(*rows: tuple[float, ...]) -> list[dict[str, Any]]:
        return [
            {"name": chr(ord("A") + i), **{f"c{j}": value for j, value in enumerate(row)}} for i, row in enumerate(rows)
        ]

    return build
