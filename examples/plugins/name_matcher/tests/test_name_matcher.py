"""The formula by hand, and the agent as its host calls it."""

import asyncio
from typing import Any

import pytest
from name_matcher import NameMatcher
from name_matcher.matching import best_matches, key_of, similarity

from services.runtime.agent import CapabilityError, Mail


def test_what_says_nothing_is_taken_away() -> None:
    assert key_of("Müller & Söhne GmbH", {"gmbh"}) == "muller sohne"
    assert key_of("Curie, Marie") == key_of("marie CURIE")
    assert key_of("The Limited", {"the", "limited"}) == "limited the"


def test_the_score_is_twice_the_matching_characters_over_all() -> None:
    assert similarity("acme", "acne") == pytest.approx(2 * 3 / 8)
    assert similarity("same", "same") == 1
    assert similarity("abc", "xyz") == 0


def test_the_first_of_the_best_candidates_is_taken() -> None:
    told: list[int] = []
    found = best_matches(["acme", "..."], ["other", "ACME", "acme"], told=told.append)
    assert [(best.place, best.score) for best in found] == [(1, 1.0), (None, 0.0)]
    assert told == [1, 2]


def run(action: str, inputs: dict[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    async def running() -> dict[str, Any]:
        agent = NameMatcher("test", config)
        await agent.start()
        try:
            return await agent.perform(action, inputs)
        finally:
            await agent.stop()

    return asyncio.run(running())


def test_suppliers_are_found_again() -> None:
    names = ["ACME Incorporated", "Müller u. Söhne", "Umbrela Corp", "Nobody"]
    candidates = ["Acme Inc.", "Mueller Soehne GmbH", "Umbrella Corporation"]
    answer = run("match", {"names": names, "candidates": candidates, "threshold": 0.75})
    assert [match["candidate"] for match in answer["matches"]] == [*candidates, None]
    assert answer["unmatched"] == 1


def test_the_configuration_gives_the_threshold() -> None:
    inputs = {"names": ["acne"], "candidates": ["acme"]}
    assert run("match", inputs)["matches"] == [{"name": "acne", "candidate": None, "score": 0.75}]
    assert run("match", inputs, {"threshold": 0.7})["matches"][0]["candidate"] == "acme"


def test_inputs_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(CapabilityError, match="candidates") as refused:
        run("match", {"names": []})
    assert refused.value.code == "InvalidInputs"


def test_a_message_asks_about_one_pair() -> None:
    async def asking() -> dict[str, Any]:
        agent = NameMatcher("test")
        await agent.start()
        return await agent.receive(Mail({"one": "Acme Ltd", "other": "ACME"}, message_type="same"))

    assert asyncio.run(asking()) == {"score": 1.0, "same": True}
