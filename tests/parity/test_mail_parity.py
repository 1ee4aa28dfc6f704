"""Mail and instances do the same over every bus: retries, dead letters, replies, and going on where a host died."""

from collections.abc import AsyncIterator

import pytest

from contracts.agents import AgentStatus
from tests.support.buses import World
from tests.support.host_world import HostWorld, host_world

OWN_NAMES = False


@pytest.fixture
async def hosts(world: World) -> AsyncIterator[HostWorld]:
    async with host_world(world) as hosts:
        yield hosts


async def test_mail_meets_the_handler_of_its_type_and_is_answered(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.run("amy", host, config={"desk": 4})
    answers = [
        (await hosts.ask("amy", {"text": "hello"}, "note")).body,
        (await hosts.ask(hosts.agent_type, {"text": "all"}, "note")).body,
        (await hosts.ask("amy", {"action": "write", "inputs": {"text": "x"}})).body,
    ]
    assert answers == [
        {"by": "amy", "from": "client", "retries": 0},
        {"by": hosts.agent_type, "from": "client", "retries": 0},
        {"text": "amy: x at desk 4"},
    ]


async def test_a_message_that_fails_is_tried_again_under_its_own_id_and_counted(hosts: HostWorld) -> None:
    host = await hosts.host(max_message_retries=3)
    await hosts.run("amy", host)
    reply = await hosts.ask("amy", {"times": 3}, "fails")
    assert reply.body is not None
    assert (reply.error, reply.body["retries"]) == (None, 3)
    assert [what for _, what in hosts.office.done] == ["try 0", "try 1", "try 2", "try 3"]
    await hosts.mail("amy", {"times": 1}, "fails")
    await hosts.office.until(lambda done: len(done) == 6)
    assert hosts.stories() == []


async def test_after_the_limit_a_message_is_a_dead_letter_with_its_reason(hosts: HostWorld) -> None:
    host = await hosts.host(max_message_retries=2)
    await hosts.run("amy", host)
    sent = await hosts.mail("amy", {"times": 9}, "fails")
    await hosts.graves.wait_until(lambda: len(hosts.stories()) == 1)
    ((reason, detail),) = hosts.stories()
    assert (reason, detail) == ("agent-failed", "LookupError: the file is missing (after 2 retries)")
    (letter,) = [one for one in hosts.graves.deliveries if one.message_id == sent]
    assert b'"times":9' in letter.body
    assert [what for _, what in hosts.office.done] == ["try 0", "try 1", "try 2"]


async def test_who_asked_for_a_reply_hears_why_there_is_none(hosts: HostWorld) -> None:
    host = await hosts.host(max_message_retries=1)
    await hosts.run("amy", host)
    failed = await hosts.ask("amy", {"times": 9}, "fails")
    assert (failed.body, failed.code, failed.error) == (None, "LookupError", "the file is missing")
    await hosts.graves.wait_until(lambda: len(hosts.stories()) == 1)
    refused = await hosts.ask("amy", {"times": 9, "refuse": True}, "fails")
    assert (refused.code, refused.error) == ("NotMine", "not my business")
    nan = await hosts.ask("amy", {}, "nan")
    assert (nan.code, nan.body) == ("InvalidOutput", None)
    # Refusals were answered, so they are no dead letters.
    assert [reason for reason, _ in hosts.stories()] == ["agent-failed"]


async def test_a_refused_message_that_nobody_waits_for_is_a_dead_letter_at_once(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.run("amy", host)
    await hosts.mail("amy", {"times": 9, "refuse": True}, "fails")
    await hosts.mail("amy", {}, "riddle")
    await hosts.graves.wait_until(lambda: len(hosts.stories()) == 2)
    assert [reason for reason, _ in hosts.stories()] == ["agent-failed", "agent-failed"]
    details = " ".join(detail for _, detail in hosts.stories())
    assert "NotMine: not my business" in details
    assert "no handler for messages of type 'riddle'; it has handlers for fails, nan, note" in details
    assert hosts.office.counts() == {"try 0": 1}


async def test_agent_failure_recovery(hosts: HostWorld) -> None:
    """An instance on two hosts is in one place at a time. When that host goes, the other goes on with everything that
    was not answered."""
    one, two = await hosts.host(), await hosts.host()
    await hosts.run("amy", one, two)
    assert (await hosts.ask("amy", {"text": "where"}, "note")).body is not None
    (first,) = hosts.office.who_did("where")
    active, other = (one, "amy@h2") if first == "amy@h1" else (two, "amy@h1")
    await hosts.office.close(first)
    for number in range(20):
        await hosts.mail("amy", {"text": f"m{number}"}, "note")
    await hosts.office.until(lambda done: any(what.startswith("m") for _, what in done))
    await active.die()

    def all_done(done: list[tuple[str, str]]) -> bool:
        return {what for who, what in done if who == other} >= {f"m{number}" for number in range(20)}

    await hosts.office.until(all_done)
    by_other = [what for who, what in hosts.office.done if who == other and what.startswith("m")]
    assert sorted(by_other) == sorted(f"m{number}" for number in range(20))
    assert (await hosts.ask("amy", {"text": "still here"}, "note")).body is not None
    assert hosts.office.who_did("still here") == [other]
    assert hosts.stories() == []


async def test_a_host_that_stops_hands_its_instances_over(hosts: HostWorld) -> None:
    """It ends what it works on, and what it has not begun goes to the other: each message is handled once."""
    one, two = await hosts.host(), await hosts.host()
    await hosts.run("amy", one, two, limits={"concurrency": 1})
    count = 30
    for number in range(count):
        await hosts.mail("amy", {"text": f"m{number}"}, "note")
    await hosts.office.until(lambda done: len(done) > 0)
    (first,) = {who for who, _ in hosts.office.done}
    await (one if first == "amy@h1" else two).service.stop()
    await hosts.office.until(lambda done: len({what for _, what in done if what.startswith("m")}) == count)
    assert (await hosts.ask("amy", {"text": "still here"}, "note")).body is not None
    assert {what: many for what, many in hosts.office.counts().items() if what.startswith("m") and many > 1} == {}
    assert hosts.stories() == []


async def test_a_deleted_instance_ends_what_it_works_on_and_is_released(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.run("amy", host)
    await hosts.office.close("long")
    await hosts.mail("amy", {"text": "long"}, "note")
    step = await hosts.step("long", "amy")
    await hosts.office.until(lambda done: len(done) == 2)
    await hosts.assign(host, stop=("amy",))
    await hosts.until_state(host, "amy", AgentStatus.STOPPING)
    assert hosts.released("amy") == []
    await hosts.office.open("long")
    await hosts.until(lambda: len(hosts.released("amy")) == 1)
    assert [(result.step, result.ok) for result in hosts.results()] == [("s", True)]
    assert step.startswith(hosts.results()[0].execution_id)
    assert hosts.office.done[-1] == ("amy@h1", "stopped")
    await hosts.until_state(host, "amy", None)
