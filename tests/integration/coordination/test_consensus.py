"""Consensus among real agents, over a bus."""

import asyncio
from typing import Any

from tests.support.negotiators import Juror, coordinate, create, release
from tests.support.running import Running

INSTANCES = {"agent_type": "juror", "default_agents": False}
DEADLINE = 5  # seconds: whoever answers at all has done so by then, on a machine that stands still for some of them too


async def ask(system: Running, **options: Any) -> dict[str, Any]:
    return await coordinate(system, "consensus", {"question": "Guilty?", "agents": INSTANCES, **options})


def positions(answer: dict[str, Any], number: int) -> dict[str, Any]:
    return {one["agent_id"]: one["answer"] or one["state"] for one in answer["rounds"][number - 1]["positions"]}


async def test_a_consensus_in_one_round_with_dissent(system: Running) -> None:
    await create(system, "juror", {"a": {"answers": ["yes"]}, "b": {"answers": ["yes"]}, "c": {"answers": ["no"]}})
    answer = await ask(system, rounds=5)
    assert (answer["reached"], answer["outcome"], answer["answer"], answer["share"]) == (
        True,
        "consensus",
        "yes",
        2 / 3,
    )
    assert len(answer["rounds"]) == 1
    assert answer["dissent"] == [{"agent_id": "c", "answer": "no", "argument": "c is sure of it", "weight": 1.0}]
    assert answer["asked"] == ["a", "b", "c"]


async def test_the_second_round_shows_the_others_arguments_and_brings_consensus(system: Running) -> None:
    await create(
        system,
        "juror",
        {
            "a": {"answers": ["yes"]},
            "b": {"answers": ["yes"]},
            "c": {"answers": ["no"], "follows": True},
            "d": {"answers": ["no"]},
        },
    )
    answer = await ask(system, rounds=3, threshold=0.75)
    assert (answer["outcome"], answer["answer"], answer["share"]) == ("consensus", "yes", 0.75)
    assert [one["outcome"] for one in answer["rounds"]] == ["no_consensus", "consensus"]
    assert positions(answer, 1) == {"a": "yes", "b": "yes", "c": "no", "d": "no"}
    assert positions(answer, 2) == {"a": "yes", "b": "yes", "c": "yes", "d": "no"}
    assert Juror.shown["c", 1] == []
    assert [(o.agent_id, o.answer, o.argument) for o in Juror.shown["c", 2]] == [
        ("a", "yes", "a is sure of it"),
        ("b", "yes", "b is sure of it"),
        ("d", "no", "d is sure of it"),
    ]
    assert [one["agent_id"] for one in answer["dissent"]] == ["d"]


async def test_no_consensus_is_an_outcome_with_every_position(system: Running) -> None:
    await create(system, "juror", {"a": {"answers": [1]}, "b": {"answers": [2]}, "c": {"answers": [3]}})
    answer = await ask(system, rounds=2)
    assert (answer["reached"], answer["outcome"], answer["answer"]) == (False, "no_consensus", None)
    assert [len(one["positions"]) for one in answer["rounds"]] == [3, 3]
    assert answer["reason"] == "33.3% of the answers agree on 1, and as many on another"
    assert answer["dissent"] == []
    # The same answers are one within a tolerance.
    near = await ask(system, tolerance=1)
    assert (near["outcome"], near["answer"], near["share"]) == ("consensus", 2, 1.0)


async def test_no_quorum_is_an_outcome_that_names_the_silent(system: Running) -> None:
    await create(
        system,
        "juror",
        {"a": {"answers": ["yes"]}, "b": {"answers": ["yes"]}, "c": {"silent_in": [1]}, "d": {"silent_in": [1]}},
    )
    answer = await ask(system, quorum={"voters": 3}, deadline=DEADLINE)
    assert (answer["reached"], answer["outcome"], answer["answer"]) == (False, "no_quorum", None)
    assert answer["silent"] == ["c", "d"]
    assert answer["reason"] == "2 answered, and the quorum is 3"
    few = await ask(system, at_least=5)
    assert (few["outcome"], few["rounds"]) == ("no_quorum", [])
    assert few["reason"] == "4 of the agents that are meant can be asked, and at least 5 are needed"


async def test_a_late_answer_of_an_earlier_round_is_not_counted_in_a_later_one(system: Running) -> None:
    """``c`` holds its answer to the first round back until the second is under way."""
    late = {"answers": ["too late", "yes"], "silent_in": [1, 2]}
    await create(system, "juror", {"a": {"answers": ["yes"]}, "b": {"answers": ["no"]}, "c": late})
    inputs = {"question": "Guilty?", "agents": INSTANCES, "rounds": 3, "deadline": DEADLINE}
    asked = asyncio.create_task(coordinate(system, "consensus", inputs))
    await system.until(lambda: _shown("c", 2))
    release()
    answer = await asked
    assert positions(answer, 1) == {"a": "yes", "b": "no", "c": "silent"}
    assert positions(answer, 2) == {"a": "yes", "b": "no", "c": "yes"}
    assert (answer["outcome"], answer["share"], len(answer["rounds"])) == ("consensus", 2 / 3, 2)


async def _shown(agent_id: str, number: int) -> bool:
    return (agent_id, number) in Juror.shown


async def test_a_capability_answers_the_question(system: Running) -> None:
    await create(
        system,
        "juror",
        {"a": {"answers": ["yes"]}, "b": {"answers": ["no"], "follows": True}, "c": {"answers": ["yes", "no"]}},
    )
    task = {
        "action": "judge",
        "inputs": {"case": "Guilty?"},
        "answer": "verdict",
        "argument": "because",
        "others": "heard",
    }
    answer = await ask(system, task=task, threshold=1, rounds=2)
    assert answer["outcome"] == "no_consensus"
    assert positions(answer, 1) == {"a": "yes", "b": "no", "c": "yes"}
    assert positions(answer, 2) == {"a": "yes", "b": "yes", "c": "no"}
    assert answer["rounds"][1]["positions"][1]["argument"] == "the others have convinced me"


async def test_at_most_and_weights(system: Running) -> None:
    jurors = {name: {"answers": [answer]} for name, answer in zip("abcd", ["yes", "no", "no", "no"], strict=True)}
    await create(system, "juror", jurors)
    answer = await ask(system, at_most=3, weights={"a": 5})
    assert (answer["asked"], answer["answer"], answer["share"]) == (["a", "b", "c"], "yes", 5 / 7)


async def test_agents_that_have_no_answer_say_so(system: Running) -> None:
    answer = await ask(system, agents={"agent_ids": ["contractor", "ghost", "juror"]}, quorum={"fraction": 1})
    assert answer["outcome"] == "no_quorum"
    states = {one["agent_id"]: (one["state"], one["reason"]) for one in answer["rounds"][0]["positions"]}
    assert states["contractor"] == ("failed", "contractor answers no questions: it has no answer_question")
    assert states["juror"] == ("abstained", "")
    assert [one["agent_id"] for one in answer["not_asked"]] == ["ghost"]
