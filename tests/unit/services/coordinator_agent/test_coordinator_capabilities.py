"""The coordinator as an agent: what it offers, and that its schemas accept what its models accept."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.agents import AgentStatus
from services.coordinator_agent.agent import CoordinatorAgent

BALLOTS: list[Any] = [
    {"a": "x", "b": None},
    {"a": {"choice": "x", "weight": 2, "reason": "cheap"}, "b": {"choice": None}},
    [{"voter": "a", "ranking": ["x", ["y", "z"]]}, {"ranking": [{"alternative": "x", "rank": 1, "score": 0.3}]}],
    [{"winner": "x", "ranking": [{"alternative": "x", "rank": 1, "score": 1.0}], "method": "topsis"}, "y", None],
]


async def test_it_offers_five_ways_to_coordinate(coordinator: CoordinatorAgent) -> None:
    assert coordinator.agent_type == "coordinator_agent"
    assert coordinator.get_capabilities() == ["aggregate", "consensus", "contract_net", "delegate", "vote"]
    described = coordinator.describe()
    assert [c.name for c in described.capabilities] == coordinator.get_capabilities()
    assert all(c.description for c in described.capabilities)
    for c in described.capabilities:
        Draft202012Validator.check_schema(c.input_schema)
        Draft202012Validator.check_schema(c.output_schema)


@pytest.mark.parametrize("ballots", BALLOTS)
async def test_every_form_of_ballot_fits_the_schema_and_the_model(coordinator: CoordinatorAgent, ballots: Any) -> None:
    schema = coordinator.describe().capability("vote").input_schema  # type: ignore[union-attr]
    inputs = {"ballots": ballots, "method": "borda"}
    Draft202012Validator(schema).validate(inputs)
    assert (await coordinator.perform("vote", inputs))["outcome"] in {"decided", "tie"}


@pytest.mark.parametrize("ballot", [{"voter": "a"}, {"voter": "a", "choise": "x"}, {"choice": "x", "weight": 0}, 7, ""])
async def test_bad_ballots_fit_neither_the_schema_nor_the_model(
    coordinator: CoordinatorAgent, ballot: Any, refused: Any
) -> None:
    schema = coordinator.describe().capability("vote").input_schema  # type: ignore[union-attr]
    inputs = {"ballots": [ballot], "method": "borda"}
    assert not Draft202012Validator(schema).is_valid(inputs)
    assert (await refused(coordinator.perform("vote", inputs))).code == "InvalidInputs"


async def test_answers_fit_the_output_schemas(coordinator: CoordinatorAgent) -> None:
    answers = {
        "vote": await coordinator.perform("vote", {"ballots": {"a": "x", "b": "y"}, "method": "borda"}),
        "aggregate": await coordinator.perform(
            "aggregate", {"items": [1, 2], "strategy": "numeric", "statistic": "sum"}
        ),
    }
    for name, answer in answers.items():
        schema = coordinator.describe().capability(name).output_schema  # type: ignore[union-attr]
        Draft202012Validator(schema).validate(json.loads(json.dumps(answer)))


async def test_it_answers_messages_and_becomes_idle_again(coordinator: CoordinatorAgent) -> None:
    message = {"action": "vote", "inputs": {"ballots": ["x", "x", "y"], "method": "majority"}}
    answer = await coordinator.process_message(message)
    assert answer["winner"] == "x"
    assert coordinator.status is AgentStatus.IDLE
