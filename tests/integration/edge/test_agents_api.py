"""Agents through the API: created, shown, asked, told and stopped, with the real registry and hosts behind it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.runtime.masking import MASK
from tests.support.edge_world import until
from tests.support.office import AGENTS, MAX_AGENTS, Office, office, problem


@pytest.fixture
async def clerks() -> AsyncIterator[Office]:
    async with office() as made:
        yield made


@pytest.fixture
def client(clerks: Office) -> httpx.AsyncClient:
    return clerks.client


async def ids(client: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"{AGENTS}?{query}")
    assert answer.status_code == 200, answer.text
    return [item["agent_id"] for item in answer.json()["items"]]


# ---- creating


async def test_agent_creation_endpoint(client: httpx.AsyncClient, clerks: Office) -> None:
    body = {
        "agent_type": "clerk",
        "agent_id": "ann",
        "config": {"greeting": "good morning", "password": "hunter2"},
        "limits": {"concurrency": 2, "capabilities": {"greet": {"rate": 100}}},
    }
    answer = await client.post(AGENTS, json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{AGENTS}/ann"
    agent = answer.json()
    assert (agent["agent_id"], agent["agent_type"], agent["status"]) == ("ann", "clerk", "idle")
    assert (agent["default"], agent["capabilities"], agent["error"]) == (False, ["greet"], "")
    assert agent["config"] == {"greeting": "good morning", "password": MASK}
    assert agent["limits"]["concurrency"] == 2
    assert agent["limits"]["capabilities"]["greet"]["rate"] == 100
    assert len(agent["hosts"]) >= 1
    assert (await clerks.ask("ann", "bob")).json()["reply"]["text"] == "good morning bob"


@pytest.mark.parametrize("path", [AGENTS, f"{AGENTS}/"])
async def test_the_path_may_end_with_a_slash_and_the_id_may_be_left_out(client: httpx.AsyncClient, path: str) -> None:
    first = await client.post(path, json={"agent_type": "clerk"})
    second = await client.post(path, json={"agent_type": "clerk", "id": "ben"})
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["agent_id"] == "ben"
    assert set(await ids(client)) == {first.json()["agent_id"], "ben", "clerk"}
    assert (await client.get(path)).json() == (await client.get(AGENTS)).json()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"agent_type": "nobody"}, "body.agent_type"),
        ({"agent_type": "no body"}, "body.agent_type"),
        ({"agent_type": "clerk", "agent_id": "a/b"}, "body.agent_id"),
        ({"agent_type": "clerk", "agent_id": "any"}, "body.agent_id"),
        ({"agent_type": "clerk", "agent_id": "types"}, "body.agent_id"),
        ({"agent_type": "clerk", "config": {"greeting": 7}}, "body.config.greeting"),
        ({"agent_type": "clerk", "config": {"greetings": "hi"}}, "body.config.greetings"),
        ({"agent_type": "clerk", "limits": {"concurrency": 0}}, "body.limits.concurrency"),
    ],
)
async def test_what_cannot_be_created_is_refused_with_its_path(
    client: httpx.AsyncClient, body: dict[str, Any], path: str
) -> None:
    document = problem(await client.post(AGENTS, json=body), 422, "invalid")
    assert [error["path"] for error in document["errors"]] == [path]
    assert await ids(client) == ["clerk"], "nothing is left of it"


async def test_every_fault_of_a_configuration_is_listed(client: httpx.AsyncClient) -> None:
    body = {"agent_type": "clerk", "config": {"greeting": 7, "password": [], "odd": 1}}
    document = problem(await client.post(AGENTS, json=body), 422, "invalid")
    assert {error["path"] for error in document["errors"]} == {
        "body.config.greeting",
        "body.config.password",
        "body.config.odd",
    }


async def test_an_unknown_type_is_told_the_known_ones(client: httpx.AsyncClient) -> None:
    document = problem(await client.post(AGENTS, json={"agent_type": "nobody"}), 422, "invalid")
    assert "clerk" in document["detail"]


async def test_ids_are_taken_once(client: httpx.AsyncClient, clerks: Office) -> None:
    await clerks.create("ann")
    for agent_id in ("ann", "clerk"):
        document = problem(
            await client.post(AGENTS, json={"agent_type": "clerk", "agent_id": agent_id}), 409, "already-exists"
        )
        assert agent_id in document["detail"]


async def test_as_many_agents_as_may_be(client: httpx.AsyncClient, clerks: Office) -> None:
    for number in range(MAX_AGENTS):
        await clerks.create(f"a{number}")
    document = problem(await client.post(AGENTS, json={"agent_type": "clerk"}), 409, "limit-reached")
    assert str(MAX_AGENTS) in document["detail"]
    assert (await client.delete(f"{AGENTS}/a0")).status_code == 200
    await clerks.create("one-more")


async def test_a_repeated_creation_is_the_same_agent(client: httpx.AsyncClient) -> None:
    body = {"agent_type": "clerk", "config": {"greeting": "hi"}}
    headers = {"idempotency-key": "order-7"}
    first = await client.post(AGENTS, json=body, headers=headers)
    again = await client.post(AGENTS, json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert again.json()["agent_id"] == first.json()["agent_id"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")

    other = await client.post(AGENTS, json={**body, "config": {}}, headers=headers)
    problem(other, 422, "idempotency-key-reused")
    assert await ids(client) == sorted(["clerk", first.json()["agent_id"]])


# ---- showing


async def test_agent_listing_endpoint(client: httpx.AsyncClient, clerks: Office) -> None:
    for agent_id in ("ann", "ben", "cid"):
        await clerks.create(agent_id)
    everyone = ["ann", "ben", "cid", "clerk"]
    assert await ids(client) == everyone
    assert await ids(client, "type=clerk") == everyone
    assert await ids(client, "agent_type=nobody") == []
    assert await ids(client, "capability=greet") == everyone
    assert await ids(client, "capability=fly") == []
    assert await ids(client, "status=error") == []
    assert await ids(client, "status=error&status=idle&status=processing") == everyone

    first = (await client.get(f"{AGENTS}?limit=3")).json()
    rest = (await client.get(f"{AGENTS}?limit=3&after={first['next']}")).json()
    assert [item["agent_id"] for item in first["items"] + rest["items"]] == everyone
    assert rest["next"] is None

    for query in ("status=odd", "limit=0", "type=clerk&agent_type=other"):
        document = problem(await client.get(f"{AGENTS}?{query}"), 422, "invalid")
        assert document["errors"][0]["path"].startswith("query.")
    assert (await client.get(f"{AGENTS}?after=nonsense")).status_code == 400


async def test_agent_retrieval_endpoint(client: httpx.AsyncClient, clerks: Office) -> None:
    created = await clerks.create("ann", config={"greeting": "hi"})
    shown = (await client.get(created["href"])).json()
    for name in (
        "agent_id",
        "agent_type",
        "capabilities",
        "config",
        "limits",
        "default",
        "created_at",
        "href",
        "links",
    ):
        assert shown[name] == created[name]
    default = (await client.get(f"{AGENTS}/clerk")).json()
    assert (default["default"], default["status"], len(default["hosts"])) == (True, "idle", 2)
    document = problem(await client.get(f"{AGENTS}/nobody"), 404, "not-found")
    assert "nobody" in document["detail"]


async def test_types_are_described(client: httpx.AsyncClient) -> None:
    types = (await client.get(f"{AGENTS}/types")).json()
    (clerk,) = types["items"]
    assert (clerk["agent_type"], clerk["status"], clerk["description"]) == ("clerk", "available", "Greets.")
    (greet,) = clerk["capabilities"]
    assert greet["input_schema"]["required"] == ["text"]
    assert set(greet["output_schema"]["properties"]) == {"text", "desk"}
    assert set(clerk["config_schema"]["properties"]) == {"greeting", "password"}
    assert clerk["message_types"] == ["note"]
    assert [host["available"] for host in clerk["hosts"]] == [True, True]
    assert types["faults"] == []


# ---- messages


async def test_agent_messaging_endpoint(client: httpx.AsyncClient, clerks: Office) -> None:
    await clerks.create("ann", config={"greeting": "hi"})
    sent = await clerks.tell("ann", "first")
    assert sent.status_code == 202, sent.text
    assert sent.json().keys() == {"message_id", "status", "timestamp"}
    assert sent.json()["status"] == "sent"
    await clerks.until_heard("first")

    answered = await clerks.ask("ann", "second")
    assert answered.status_code == 200, answered.text
    assert answered.json()["status"] == "answered"
    assert answered.json()["reply"]["text"] == "hi second"
    assert clerks.heard() == [("ann", "first"), ("ann", "second")]
    assert answered.json()["message_id"] != sent.json()["message_id"]

    by_default = await clerks.ask("clerk", "third")
    assert by_default.json()["reply"]["text"] == "hello third"


async def test_a_message_type_chooses_the_handler(client: httpx.AsyncClient) -> None:
    path = f"{AGENTS}/clerk/message?wait=true"
    answer = await client.post(path, json={"message": {"text": "x"}, "message_type": "note"})
    assert answer.json()["reply"] == {"noted": "x", "from": "key:tests", "id": answer.json()["message_id"]}
    unknown = await client.post(path, json={"message": {"text": "x"}, "message_type": "letter"})
    document = problem(unknown, 422, "agent-failed")
    assert document["code"] == "UnknownMessageType"
    assert "note" in document["detail"]


async def test_an_agent_may_refuse_or_fail(client: httpx.AsyncClient, clerks: Office) -> None:
    path = f"{AGENTS}/clerk/message?wait=true"
    rude = problem(
        await client.post(path, json={"payload": {"text": "rude"}, "message_type": "note"}), 422, "agent-failed"
    )
    assert (rude["code"], rude["agent_id"]) == ("Rude", "clerk")
    assert "clerks take no rude notes" in rude["detail"]
    unknown = problem(await client.post(path, json={"payload": {"action": "fly"}}), 422, "agent-failed")
    assert unknown["code"] == "UnknownAction"

    clerks.fail_on("twice", 1)
    assert (await clerks.ask("clerk", "twice")).json()["reply"]["text"] == "hello twice"


async def test_messages_that_cannot_be_sent(client: httpx.AsyncClient) -> None:
    for path in ("nobody/message", "nobody/message?wait=true"):
        problem(await client.post(f"{AGENTS}/{path}", json={"payload": {}}), 404, "not-found")
    bodies: list[dict[str, Any]] = [{}, {"payload": {}, "message": {}}, {"payload": []}, {"payload": {}, "type": "x"}]
    for body in bodies:
        problem(await client.post(f"{AGENTS}/clerk/message", json=body), 422, "invalid")
    for timeout in ("0", "301", "soon"):
        answer = await client.post(f"{AGENTS}/clerk/message?wait=true&timeout={timeout}", json={"payload": {}})
        assert problem(answer, 422, "invalid")["errors"][0]["path"] == "query.timeout"


async def test_no_answer_in_time_is_504_and_the_message_is_handled_all_the_same(clerks: Office) -> None:
    await clerks.create("ann")
    late = problem(await clerks.ask("ann", "slow", gate="g", timeout=0.2), 504, "no-reply")
    assert (late["agent_id"], late["message_id"].startswith("msg-")) == ("ann", True)
    assert "may still be handled" in late["detail"]
    clerks.open_gate("g")
    assert (await clerks.ask("ann", "quick")).status_code == 200
    assert Counter(clerks.heard()) == {("ann", "slow"): 1, ("ann", "quick"): 1}


async def test_the_same_key_is_the_same_message(client: httpx.AsyncClient, clerks: Office) -> None:
    note = {"payload": {"text": "x"}, "message_type": "note"}
    headers = {"idempotency-key": "order-7"}
    path = f"{AGENTS}/clerk/message"
    answers = [await client.post(f"{path}?wait=true", json=note, headers=headers) for _ in range(2)]
    seen = {answer.json()["reply"]["id"] for answer in answers} | {answer.json()["message_id"] for answer in answers}
    sent = await client.post(path, json=note, headers=headers)
    assert seen == {sent.json()["message_id"]}
    await clerks.create("ann")
    other = await client.post(f"{AGENTS}/ann/message", json=note, headers=headers)
    assert other.json()["message_id"] not in seen, "the same key to another agent is another message"


async def test_message_broadcasting(client: httpx.AsyncClient, clerks: Office) -> None:
    for agent_id in ("ann", "ben"):
        await clerks.create(agent_id)
    path = f"{AGENTS}/broadcast"
    note = {"payload": {"text": "all"}, "message_type": "note"}
    sent = await client.post(path, json=note)
    assert sent.status_code == 202, sent.text
    body = sent.json()
    assert body.keys() == {"broadcast_id", "status", "timestamp", "agent_ids", "count"}
    assert (body["status"], body["count"], sorted(body["agent_ids"])) == ("sent", 3, ["ann", "ben", "clerk"])
    await clerks.until_heard("all", 3)
    assert sorted(clerks.heard()) == [("ann", "all"), ("ben", "all"), ("clerk", "all")]

    for wanted, count in (
        ({"agent_type": "clerk", "capability": "greet"}, 3),
        ({"status": ["idle", "processing"]}, 3),
        ({"status": "error"}, 0),
        ({"agent_type": "nobody"}, 0),
        ({"capability": "fly"}, 0),
    ):
        answer = await client.post(
            path, json={"message": {"text": str(wanted)}, "message_type": "note", "filter": wanted}
        )
        assert (answer.status_code, answer.json()["count"]) == (202, count), wanted
        await clerks.until_heard(str(wanted), count)
    problem(await client.post(path, json={**note, "filter": {"typ": "clerk"}}), 422, "invalid")


# ---- deleting


async def test_agent_deletion_endpoint(client: httpx.AsyncClient, clerks: Office) -> None:
    await clerks.create("ann")
    href = f"{AGENTS}/ann"
    assert (await clerks.ask("ann", "bob")).status_code == 200
    deleted = await client.delete(href)
    assert deleted.status_code == 200, deleted.text
    assert deleted.json() == {
        "agent_id": "ann",
        "status": "stopped",
        "message": "Agent removed successfully",
        "undelivered": 0,
    }
    for answer in (await client.get(href), await client.delete(href), await clerks.tell("ann", "late")):
        problem(answer, 404, "not-found")
    assert await ids(client) == ["clerk"]
    await clerks.create("ann")
    assert (await clerks.ask("ann", "again")).status_code == 200


async def test_what_an_agent_works_on_ends_before_it_is_deleted(client: httpx.AsyncClient, clerks: Office) -> None:
    await clerks.create("ann")
    working = asyncio.create_task(clerks.ask("ann", "slow", gate="g"))
    await clerks.until_heard("slow")
    deleting = asyncio.create_task(client.delete(f"{AGENTS}/ann"))

    async def stopping() -> bool:
        return bool((await client.get(f"{AGENTS}/ann")).json()["status"] == "stopping")

    await until(stopping)
    refused = problem(await clerks.tell("ann", "late"), 409, "conflict")
    assert "stopping" in refused["detail"]
    problem(await client.post(AGENTS, json={"agent_type": "clerk", "agent_id": "ann"}), 409, "conflict")
    assert not deleting.done()
    assert not working.done()
    clerks.open_gate("g")
    assert (await working).json()["reply"]["text"] == "hello slow"
    assert (await deleting).status_code == 200
    problem(await client.get(f"{AGENTS}/ann"), 404, "not-found")


async def test_who_does_not_wait_for_the_end_is_told_that_it_is_stopping(
    client: httpx.AsyncClient, clerks: Office
) -> None:
    await clerks.create("ann")
    working = asyncio.create_task(clerks.ask("ann", "slow", gate="g"))
    await clerks.until_heard("slow")
    deleted = await client.delete(f"{AGENTS}/ann?timeout=0.3")
    assert (deleted.status_code, deleted.json()["status"]) == (202, "stopping")
    clerks.open_gate("g")
    assert (await working).status_code == 200

    async def gone() -> bool:
        return (await client.get(f"{AGENTS}/ann")).status_code == 404

    await until(gone)


async def test_a_default_agent_cannot_be_deleted(client: httpx.AsyncClient, clerks: Office) -> None:
    problem(await client.delete(f"{AGENTS}/clerk"), 409, "conflict")
    assert (await clerks.ask("clerk", "bob")).status_code == 200
