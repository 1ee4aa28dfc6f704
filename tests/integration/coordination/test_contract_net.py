"""Contract nets among real agents, over a bus."""

from typing import Any

from contracts.agents import AgentStatus
from contracts.registry import AgentFilter, AgentsFound, FindAgents
from tests.support.negotiators import Contractor, begin, coordinate, create, errors
from tests.support.running import Running

TASK = {"action": "survey", "inputs": {"site": "north"}}
INSTANCES = {"agent_type": "contractor", "default_agents": False}
DEADLINE = 5  # seconds: whoever answers at all has done so by then, on a machine that stands still for some of them too


async def net(system: Running, **options: Any) -> dict[str, Any]:
    return await coordinate(system, "contract_net", {"task": TASK, "agents": INSTANCES, **options})


def bids_by_agent(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {bid["agent_id"]: bid for bid in answer["bids"]}


async def test_a_contract_net_among_ten_of_which_two_never_answer_awards_in_time(system: Running) -> None:
    """The award is made at the deadline, long before the silent agents' own time is up."""
    prompt = {f"c{i}": {"bid": {"cost": 10 + i, "confidence": 0.5}} for i in range(8)}
    await create(system, "contractor", {**prompt, "c8": {"manner": "silent"}, "c9": {"manner": "silent"}})
    answer = await net(system, deadline=DEADLINE)
    assert (answer["outcome"], answer["awarded"], answer["asked"]) == ("done", "c0", 10)
    assert answer["result"] == {"site": "north", "by": "c0"}
    bids = bids_by_agent(answer)
    assert [name for name, bid in bids.items() if bid["state"] == "silent"] == ["c8", "c9"]
    assert [bid["rank"] for bid in bids.values()] == [1, 2, 3, 4, 5, 6, 7, 8, None, None]
    assert all(0 < bids[name]["seconds"] <= DEADLINE for name in prompt)
    assert bids["c8"]["seconds"] is None
    assert bids["c8"]["not_chosen"] == f"no answer within {DEADLINE} s"
    assert bids["c3"]["not_chosen"] == "c0 is better by lowest_cost: cost 10, not cost 13"
    assert Contractor.done == ["c0"]

    async def told() -> bool:
        return set(Contractor.refused) == {f"c{i}" for i in range(1, 8)}

    await system.until(told)
    assert Contractor.refused["c3"] == bids["c3"]["not_chosen"]


async def test_nobody_waits_for_the_deadline_when_all_have_answered(system: Running) -> None:
    await create(
        system, "contractor", {"a": {"bid": {"cost": 2}}, "b": {"bid": {"cost": 1}}, "c": {"manner": "declines"}}
    )
    answer = await net(system, deadline=80_000, rule="highest_confidence", ties=["lower_cost"])
    assert answer["awarded"] == "b"
    assert bids_by_agent(answer)["c"]["not_chosen"] == "it declined: fully booked"


async def test_the_next_best_gets_the_task_when_the_awarded_one_fails(system: Running) -> None:
    await create(
        system,
        "contractor",
        {
            "best": {"bid": {"cost": 1}, "manner": "fails"},
            "second": {"bid": {"cost": 2}, "manner": "vanishes"},
            "third": {"bid": {"cost": 3}},
        },
    )
    answer = await net(system, work_timeout=DEADLINE)
    assert (answer["outcome"], answer["awarded"]) == ("done", "third")
    assert [(made["agent_id"], made["ok"], made["code"]) for made in answer["awards"]] == [
        ("best", False, "Broken"),
        ("second", False, "Timeout"),
        ("third", True, ""),
    ]
    assert Contractor.done == ["best", "second", "third"]
    assert bids_by_agent(answer)["best"]["not_chosen"] == (
        "it was awarded the task and failed: the theodolite is broken"
    )
    assert Contractor.refused == {}


async def test_no_more_than_next_best_further_awards_are_made(system: Running) -> None:
    failing = {f"f{i}": {"bid": {"cost": i}, "manner": "fails"} for i in range(1, 5)}
    await create(system, "contractor", failing)
    answer = await net(system, next_best=1)
    assert (answer["outcome"], answer["awarded"], answer["result"]) == ("failed", None, None)
    assert Contractor.done == ["f1", "f2"]
    assert answer["reason"].startswith("everybody who was awarded survey failed: f1: the theodolite is broken")


async def test_nobody_bids_is_an_outcome_and_an_error_only_if_asked_for(system: Running) -> None:
    await create(system, "contractor", {"a": {"manner": "declines"}, "b": {"manner": "declines"}})
    answer = await net(system)
    assert (answer["outcome"], answer["awarded"]) == ("no_bids", None)
    assert answer["reason"] == "nobody bid for survey: 2 declined"
    execution_id = await begin(
        system, "contract_net", {"task": TASK, "agents": INSTANCES, "on_no_result": "error"}, retry={"max_attempts": 1}
    )
    assert await system.ended(execution_id) == "failed"
    error = (await errors(system, execution_id))["s"]
    assert (error.type, error.message) == ("NoAward", answer["reason"])
    assert [bid["agent_id"] for bid in error.details["bids"]] == ["a", "b"]


async def test_nobody_to_ask_and_nobody_acceptable_are_outcomes(system: Running) -> None:
    assert (await net(system))["outcome"] == "no_agents"
    await create(system, "contractor", {"dear": {"bid": {"cost": 10}}})
    answer = await net(system, max_cost=5)
    assert (answer["outcome"], answer["asked"]) == ("no_acceptable_bid", 1)
    assert answer["reason"] == "no bid for survey keeps max_cost 5: 1 bid"
    assert Contractor.done == []


async def test_the_capability_alone_finds_the_agents_the_default_agent_among_them(system: Running) -> None:
    await create(system, "contractor", {"dear": {"bid": {"cost": 10}}})
    answer = await coordinate(system, "contract_net", {"task": TASK})
    assert sorted(bids_by_agent(answer)) == ["contractor", "dear"]
    assert answer["awarded"] == "contractor"
    first = bids_by_agent(answer)["contractor"]
    assert (first["cost"], first["confidence"]) == (1.0, 0.5)
    # Now it has done the work once, and bids what that took.
    again = bids_by_agent(await coordinate(system, "contract_net", {"task": TASK}))["contractor"]
    assert again["cost"] != first["cost"]
    assert again["confidence"] == 2 / 3


async def test_named_agents_that_are_not_there_are_on_record(system: Running) -> None:
    await create(system, "contractor", {"here": {"bid": {"cost": 1}}})
    answer = await net(system, agents={"agent_ids": ["here", "nobody"]})
    assert (answer["awarded"], answer["asked"]) == ("here", 1)
    assert bids_by_agent(answer)["nobody"]["state"] == "unknown"


async def test_the_coordinator_takes_part_only_if_it_is_named(system: Running) -> None:
    vote = {"action": "vote", "inputs": {"ballots": {"a": "x"}, "method": "majority"}}
    alone = await coordinate(system, "contract_net", {"task": vote})
    assert (alone["outcome"], alone["asked"]) == ("no_agents", 0)
    named = await coordinate(system, "contract_net", {"task": vote, "agents": {"agent_ids": ["coordinator_agent"]}})
    assert named["awarded"] == "coordinator_agent"
    assert named["result"]["winner"] == "x"


async def test_agents_are_idle_again_after_it(system: Running) -> None:
    await create(system, "contractor", {"a": {}, "b": {}})
    assert (await net(system))["outcome"] == "done"

    async def idle() -> bool:
        found = await system.ask(FindAgents(filter=AgentFilter(agent_type="contractor")))
        assert isinstance(found, AgentsFound)
        return [agent.status for agent in found.agents] == [AgentStatus.IDLE] * 3

    await system.until(idle)
