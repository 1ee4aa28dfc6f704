"""Expressions that take long: the step fails by name, and other executions go on meanwhile."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.support.attacks import meanwhile, refused, told
from tests.support.edge_world import API, CHAIN, definition, ended, started, step

HEAVY = "inputs.big.all(a, inputs.big.all(b, a + b >= 0))"
REGEX = "inputs.text.matches('[abc]*a[abc]{300}[de]')"
CONSTANT = "[1,2,3,4,5,6,7,8,9,10]" + "".join(f".map({x}, [1,2,3,4,5,6,7,8,9,10]" for x in "abcdef") + ")" * 6
INPUTS = {"big": list(range(3_000)), "text": "abcacb" * 20_000}


def conditional(when: str, step_id: str = "a") -> dict[str, Any]:
    return {**step(step_id), "when": when}


@pytest.mark.parametrize("when", [HEAVY, REGEX])
async def test_a_condition_that_takes_long_fails_its_step_and_no_other(client: httpx.AsyncClient, when: str) -> None:
    href = await started(client, definition(conditional(when), step("b")), **INPUTS)
    view = await ended(client, href)
    assert view["steps"]["a"]["error"]["type"] == "ExpressionError"
    assert "more than 250,000 units of work" in view["steps"]["a"]["error"]["message"]
    assert view["steps"]["b"]["status"] == "succeeded"


async def test_the_expressions_of_one_step_count_together(client: httpx.AsyncClient) -> None:
    each = "${inputs.big.all(a, a >= 0)}"  # some ten thousand units: one is nothing, a hundred are too much
    href = await started(client, definition(step("a", data=[each]), step("b", data=[each] * 100)), **INPUTS)
    view = await ended(client, href)
    assert view["steps"]["a"]["status"] == "succeeded"
    assert "more than 250,000 units of work for one step's expressions" in view["steps"]["b"]["error"]["message"]


async def test_many_steps_that_become_ready_together_count_together(client: httpx.AsyncClient) -> None:
    wide = definition(*[conditional(HEAVY, f"s{i}") for i in range(300)])
    href = await started(client, wide, **INPUTS)
    view, _ = await meanwhile(client, ended(client, href))
    messages = {one["error"]["message"] for one in view["steps"].values()}
    assert len(view["steps"]) == 300
    assert any("for the steps that became ready together" in message for message in messages)


async def test_others_are_served_while_expressions_are_evaluated(client: httpx.AsyncClient) -> None:
    """The evaluation runs beside the event loop: executions of others are shown, and requests to others answered."""
    other = await started(client, CHAIN, x=1)
    assert (await ended(client, other))["status"] == "completed"
    wide = definition(*[conditional(HEAVY, f"s{i}") for i in range(100)])
    attack = asyncio.ensure_future(started(client, wide, **INPUTS))
    answered = 0
    while not attack.done():
        assert (await client.get(other)).status_code == 200
        assert (await client.get("/health")).status_code == 200
        answered += not attack.done()
    await ended(client, await attack)
    assert answered >= 2


async def test_constants_of_a_definition_count_together(client: httpx.AsyncClient) -> None:
    """Each of these takes a quarter of a second, and there are two hundred."""
    bomb = definition(*[step(f"s{i}", data=["${" + CONSTANT + "}"] * 20) for i in range(10)])
    answer, others = await meanwhile(client, told(client, f"{API}/workflows", json=bomb))
    errors = refused(answer)["errors"]
    assert {error["code"] for error in errors} == {"bad_expression"}
    assert 1 <= len(errors) < 100, "only as many as the budget of a definition allows are evaluated"
    assert others >= 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1" + "+1" * 3_000, "4096"),
        ("(" * 200 + "1" + ")" * 200, "nest"),
        ("1" + "+1" * 300, "operators"),
        ("inputs" + ".a" * 100, "in a row"),
        ("-" * 2_000 + "1", "operators"),
        ("'" + "\ud83d\ude00" * 10, "not closed"),
        ("eval('1')", "no function"),
        ("x.__class__", "unknown"),
    ],
)
async def test_what_is_too_long_or_too_deep_for_the_parser(client: httpx.AsyncClient, source: str, said: str) -> None:
    for wanted in (definition(conditional(source)), definition(step("a", data="${" + source + "}"))):
        answer = await told(
            client, f"{API}/workflows", content=_json(wanted), headers={"content-type": "application/json"}
        )
        errors = refused(answer)["errors"]
        assert any(error["code"] in ("bad_expression", "unknown_variable") for error in errors)
        assert any(said in error["message"] or "cannot be found" in error["message"] for error in errors), errors


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()
