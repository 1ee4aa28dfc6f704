"""The edge as its clients see it: the real server on a port, the real orchestrator, registry and agents behind it."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from services.edge.app import create_application
from services.edge.examples import DEFINITION_YAML
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from tests.support.edge_world import (
    API,
    CHAIN,
    World,
    accepts,
    definition,
    edge_settings,
    ended,
    logged,
    started,
    step,
    until,
)
from tests.support.memory_store import MemoryStore

# ---- the application


async def test_app_initialization() -> None:
    apps = [create_application(edge_settings(), MemoryStore(), DirectBus(DirectBroker())) for _ in range(2)]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(apps[1]), base_url="http://edge") as client:
        document = (await client.get("/openapi.json")).json()
        assert (await client.get("/docs")).status_code == 200
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert operations.keys() >= {
        f"{method} {API}{path}"
        for method, path in [
            ("POST", "/workflows"),
            ("GET", "/workflows"),
            ("GET", "/workflows/{workflow_id}"),
            ("DELETE", "/workflows/{workflow_id}"),
            ("POST", "/workflows/{workflow_id}/execute"),
            ("POST", "/executions"),
            ("GET", "/executions"),
            ("GET", "/executions/{execution_id}"),
            ("POST", "/executions/{execution_id}/cancel"),
            ("GET", "/executions/{execution_id}/history"),
            ("GET", "/executions/{execution_id}/events"),
            ("GET", "/executions/{execution_id}/steps/{step_id}/output"),
            ("POST", "/agents"),
            ("GET", "/agents"),
            ("GET", "/agents/types"),
            ("POST", "/agents/broadcast"),
            ("GET", "/agents/{agent_id}"),
            ("DELETE", "/agents/{agent_id}"),
            ("POST", "/agents/{agent_id}/message"),
            ("GET", "/monitoring/dead-letters"),
            ("GET", "/monitoring/dead-letters/{letter_id}"),
            ("DELETE", "/monitoring/dead-letters/{letter_id}"),
            ("POST", "/monitoring/dead-letters/{letter_id}/replay"),
        ]
    }
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names)
    for name, operation in operations.items():
        if name.split()[1].startswith(API):
            assert operation["summary"], name
            assert "503" in operation["responses"], name
            for status, response in operation["responses"].items():
                assert all("example" in content for content in response.get("content", {}).values()), (name, status)
    references = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= document["components"]["schemas"].keys()


async def test_startup_initialization(bare: World) -> None:
    async with await bare.run_edge() as client:
        health = await client.get("/health")
        assert health.status_code == 200
        assert health.json() == {
            "status": "ok",
            "store": {"ok": True, "detail": ""},
            "bus": {"ok": True, "detail": ""},
            "services": {"edge": "ok"},
        }
        port = client.base_url.port
        assert port
    (server,) = bare.running
    bare.running.clear()
    await server.stop()
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient().get(f"http://127.0.0.1:{port}/health")


async def test_metrics_count_requests_by_route(client: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await client.get(f"{API}/workflows/{name}")
    metrics = (await client.get("/metrics")).text
    assert f'http_requests_total{{handler="{API}/workflows/{{workflow_id}}",method="GET",status="4xx"}} 3.0' in metrics


async def test_the_messages_behind_it_are_shown(client: httpx.AsyncClient) -> None:
    document = (await client.get("/asyncapi.json")).json()
    assert document["asyncapi"].startswith("3.")
    page = await client.get("/asyncapi")
    assert page.headers["content-type"].startswith("text/html")
    assert "execution.start.v1" in page.text


@pytest.mark.parametrize(
    ("origins", "origin", "allowed", "credentials"),
    [
        ((), "http://a.test", None, None),
        (("http://a.test",), "http://a.test", "http://a.test", "true"),
        (("http://a.test",), "http://b.test", None, "true"),
        (("*",), "http://b.test", "*", None),
    ],
)
async def test_browsers_may_call_from_the_origins_in_the_settings(
    origins: tuple[str, ...], origin: str, allowed: str | None, credentials: str | None
) -> None:
    app = create_application(
        edge_settings().model_copy(update={"cors_origins": origins}), MemoryStore(), DirectBus(DirectBroker())
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        answer = await client.get(f"{API}/workflows", headers={"origin": origin})
    assert answer.headers.get("access-control-allow-origin") == allowed
    assert answer.headers.get("access-control-allow-credentials") == credentials


# ---- workflows


async def test_workflow_creation(client: httpx.AsyncClient) -> None:
    created = await client.post(f"{API}/workflows", json=CHAIN)
    assert created.status_code == 201
    workflow = created.json()
    assert created.headers["location"] == f"{API}/workflows/{workflow['workflow_id']}"
    assert (workflow["name"], workflow["steps"]) == ("test_workflow", 2)

    got = (await client.get(created.headers["location"])).json()
    stored = got.pop("definition")
    assert got == workflow
    assert [one["id"] for one in stored["steps"]] == ["step1", "step2"]

    assert (await client.delete(created.headers["location"])).status_code == 204
    for again in (await client.get(created.headers["location"]), await client.delete(created.headers["location"])):
        assert again.status_code == 404
        assert again.headers["content-type"] == "application/problem+json"


async def test_yaml_and_json_are_the_same_definition(client: httpx.AsyncClient) -> None:
    as_yaml = DEFINITION_YAML.replace("data_agent", "desk_agent").replace("decision_agent", "desk_agent")
    as_yaml = as_yaml.replace("process_data", "work").replace("make_decision", "work").replace("data_source", "data")
    headers = {"content-type": "application/yaml"}
    first = await client.post(f"{API}/workflows", content=as_yaml, headers=headers)
    assert first.status_code == 201, first.text
    as_json = definition(step("step1", data="test_data"), step("step2", data="step1.output"))
    as_json |= {"agents": ["desk_agent", "desk_agent"], "dependencies": {"step2": ["step1"]}}
    second = await client.post(f"{API}/workflows", json=as_json)
    assert first.json()["definition_hash"] == second.json()["definition_hash"]


async def test_workflow_validation_logic(client: httpx.AsyncClient) -> None:
    """Every fault is listed with its path, and nothing is stored."""
    before = len((await client.get(f"{API}/workflows")).json()["items"])
    faulty = definition(
        step("a", "b"), step("b", "a"), step("c", "nobody"), {**step("d"), "action": "no_such"}, step("e", size="many")
    )
    for path, body in (("workflows", faulty), ("executions", {"definition": faulty})):
        refused = await client.post(f"{API}/{path}", json=body)
        assert refused.status_code == 422, refused.text
        faults = {error["path"] for error in refused.json()["errors"]}
        assert any(fault.startswith("steps[2]") for fault in faults), faults
        assert any(fault.startswith("steps[3]") for fault in faults), faults
        assert any(fault.startswith("steps[4].inputs") for fault in faults), faults
        assert len(faults) >= 4
    assert len((await client.get(f"{API}/workflows")).json()["items"]) == before
    assert (await client.get(f"{API}/executions")).json() == {"items": [], "next": None}


async def test_an_id_of_ones_own_is_kept_and_not_shared(client: httpx.AsyncClient) -> None:
    path = f"{API}/workflows?workflow_id=mine"
    first = await client.post(path, json=CHAIN)
    again = await client.post(path, json=CHAIN)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = await client.post(path, json=definition(step("other")))
    assert other.status_code == 409
    assert other.json()["type"] == "urn:conclave:problem:already-exists"
    assert (await client.post(f"{API}/workflows?workflow_id=a/b", json=CHAIN)).status_code == 422


async def test_workflows_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    for i in range(7):
        await client.post(f"{API}/workflows?workflow_id=w{i}", json={**CHAIN, "name": "listed"})
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await client.get(f"{API}/workflows?name=listed&limit=3" + (f"&after={after}" if after else ""))).json()
        assert len(page["items"]) <= 3
        seen += [item["workflow_id"] for item in page["items"]]
        after = page["next"]
    assert sorted(seen) == [f"w{i}" for i in range(7)]
    assert (await client.get(f"{API}/workflows?after=nonsense")).status_code == 400


# ---- executions


async def test_workflow_execution_endpoint(client: httpx.AsyncClient) -> None:
    await client.post(f"{API}/workflows?workflow_id=wf-1", json=CHAIN)
    answer = await client.post(f"{API}/workflows/wf-1/execute", json={"inputs": {"x": 42}})
    assert answer.status_code == 202
    body = answer.json()
    assert body.keys() == {"workflow_id", "execution_id", "status", "timestamp"}
    assert (body["workflow_id"], body["status"]) == ("wf-1", "started")
    assert answer.headers["location"] == f"{API}/executions/{body['execution_id']}"

    view = await ended(client, answer.headers["location"])
    assert view["status"] == "completed"
    assert view["outputs"] == {"step2": {"data": 42, "text": ""}}
    assert view["workflow_id"] == "wf-1"
    assert view["ended_at"] >= view["started_at"]


async def test_a_stored_workflow_needs_no_body(client: httpx.AsyncClient) -> None:
    await client.post(f"{API}/workflows?workflow_id=wf-2", json=definition(step("only", data=1)))
    answer = await client.post(f"{API}/workflows/wf-2/execute")
    assert answer.status_code == 202
    assert (await ended(client, answer.headers["location"]))["outputs"]["only"]["data"] == 1
    unknown = await client.post(f"{API}/workflows/nobody/execute")
    assert unknown.status_code == 404
    misspelt = await client.post(f"{API}/workflows/wf-2/execute", json={"input": {}})
    assert misspelt.status_code == 422
    assert misspelt.json()["errors"][0]["path"] == "body.input"


async def test_workflow_status_retrieval(client: httpx.AsyncClient, world: World) -> None:
    wanted = definition(
        step("first", data=1), step("held", "first", gate="g"), step("last", "held"), step("bad", "held", fail=True)
    )
    href = await started(client, wanted)

    async def first_is_done() -> bool:
        return bool((await client.get(href)).json()["counts"].get("succeeded") == 1)

    await until(first_is_done)
    view = (await client.get(href)).json()
    assert view["status"] == "running"
    assert {name: one["status"] for name, one in view["steps"].items()} == {
        "first": "succeeded",
        "held": "running",
        "last": "pending",
        "bad": "pending",
    }
    assert (view["steps"]["held"]["attempts"], view["steps"]["held"]["agent_type"]) == (1, "desk_agent")
    assert (await client.get(f"{href}/steps/first/output")).json() == {"data": 1, "text": ""}
    assert (await client.get(f"{href}/steps/last/output")).status_code == 404
    assert (await client.get(f"{href}/steps/nobody/output")).status_code == 404

    world.open_gate("g")
    view = await ended(client, href)
    assert view["status"] == "failed"
    assert view["errors"]["bad"]["type"] == "Told"
    assert view["errors"]["bad"]["message"] == "told to fail"
    held = view["steps"]["held"]
    assert held["started_at"] <= held["ended_at"]
    assert held["duration_seconds"] >= 0

    assert (await client.get(f"{API}/executions/nobody")).status_code == 404
    assert (await client.get(f"{API}/executions/no%20body")).status_code == 422


async def test_a_repeated_start_is_the_same_execution(client: httpx.AsyncClient) -> None:
    body = {"definition": CHAIN, "inputs": {"x": 1}}
    headers = {"idempotency-key": "order-7"}
    answers = await asyncio.gather(*(client.post(f"{API}/executions", json=body, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["execution_id"] for answer in answers}) == 1
    assert sum(answer.headers.get("idempotency-replayed") != "true" for answer in answers) == 1

    other = await client.post(f"{API}/executions", json={**body, "inputs": {"x": 2}}, headers=headers)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:conclave:problem:idempotency-key-reused"
    assert other.json()["execution_id"] == answers[0].json()["execution_id"]

    await client.post(f"{API}/workflows?workflow_id=wf-3", json=CHAIN)
    elsewhere = await client.post(f"{API}/workflows/wf-3/execute", json={"inputs": {"x": 1}}, headers=headers)
    assert elsewhere.status_code == 422

    assert len((await client.get(f"{API}/executions")).json()["items"]) == 1
    bad = await client.post(f"{API}/executions", json=body, headers={"idempotency-key": "x" * 256})
    assert bad.status_code == 400


async def test_fifty_starts_in_flight(client: httpx.AsyncClient, world: World) -> None:
    """All fifty wait at the same time for their entry to be stored; then all are answered."""
    requests = world.edge.commands._requests
    may_store = asyncio.Event()

    async def room_for_fifty() -> bool:
        """Answers that came late, while the machine stood still, leave room for fewer; each in good time makes some."""
        return await accepts(client, CHAIN) and world.edge.pressure.window >= 50

    await until(room_for_fifty)

    async def hold(operation: str, moment: str) -> None:
        if operation == "append" and moment == "before":
            await may_store.wait()

    world.store.hook = hold
    sending = [
        asyncio.create_task(client.post(f"{API}/executions", json={"definition": CHAIN, "inputs": {"x": i}}))
        for i in range(50)
    ]

    async def all_wait() -> bool:
        return bool(requests.in_flight == 50)

    await until(all_wait)
    may_store.set()
    answers = await asyncio.gather(*sending)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["execution_id"] for answer in answers}) == 50
    views = [await ended(client, answer.headers["location"]) for answer in answers]
    assert sorted(view["outputs"]["step2"]["data"] for view in views) == list(range(50))


async def test_executions_are_filtered_and_paged(client: httpx.AsyncClient, world: World) -> None:
    quick = [await started(client, definition(step("a"), name="quick")) for _ in range(5)]
    for href in quick:
        await ended(client, href)
    slow = await started(client, definition(step("a", gate="g"), name="slow"))
    path = f"{API}/executions"

    async def listed(query: str) -> list[str]:
        return [item["execution_id"] for item in (await client.get(f"{path}?{query}")).json()["items"]]

    assert len(await listed("")) == 6
    assert await listed("status=running") == [slow.rpartition("/")[2]]
    assert len(await listed("status=completed&workflow_name=quick")) == 5
    assert await listed("workflow_name=nobody") == []
    assert await listed("workflow_id=nobody") == []
    moment = (await client.get(slow)).json()["started_at"]
    assert len(await listed(f"started_before={moment}")) == 5
    assert await listed(f"started_after={moment}") == [slow.rpartition("/")[2]]

    first = (await client.get(f"{path}?limit=4")).json()
    second = (await client.get(f"{path}?limit=4&after={first['next']}")).json()
    assert (len(first["items"]), len(second["items"]), second["next"]) == (4, 2, None)
    times = [item["started_at"] for item in first["items"] + second["items"]]
    assert times == sorted(times, reverse=True)

    for query in ("status=odd", "limit=0", "limit=501", "started_after=yesterday", "started_after=2026-01-31T00:00:00"):
        refused = await client.get(f"{path}?{query}")
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["path"] == f"query.{query.split('=')[0]}"
    world.open_gate("g")


async def test_an_execution_is_cancelled(client: httpx.AsyncClient, world: World) -> None:
    href = await started(client, definition(step("held", gate="never"), step("next", "held")))
    cancelled = await client.post(f"{href}/cancel", json={"reason": "changed my mind"})
    assert cancelled.status_code == 200
    assert cancelled.json() == {"execution_id": href.rpartition("/")[2], "status": "cancelled"}
    view = (await client.get(href)).json()
    assert (view["status"], view["reason"]) == ("cancelled", "changed my mind")
    assert (await client.post(f"{href}/cancel")).json()["status"] == "cancelled"
    world.open_gate("never")

    done = await started(client, definition(step("a")))
    await ended(client, done)
    assert (await client.post(f"{done}/cancel")).json()["status"] == "completed"
    assert (await client.post(f"{API}/executions/nobody/cancel")).status_code == 404


async def test_history_is_the_log(client: httpx.AsyncClient, world: World) -> None:
    href = await started(client, definition(*(step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(6))))
    await ended(client, href)
    log = await logged(world, href)
    whole = (await client.get(f"{href}/history")).json()
    assert [entry["n"] for entry in whole["entries"]] == [entry.n for entry in log] == list(range(1, len(log) + 1))
    kinds = [event["kind"] for entry in whole["entries"] for event in entry["events"]]
    assert kinds == [event.kind for entry in log for event in entry.events]
    assert kinds[0] == "execution_started"
    assert kinds[-1] == "execution_ended"
    assert kinds.count("step_succeeded") == 6
    assert all(event["cause"] in entry["applied"] for entry in whole["entries"] for event in entry["events"])

    paged: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = (await client.get(f"{href}/history?after={after}&limit=2")).json()
        paged += page["entries"]
        after = page["next"]
    assert paged == whole["entries"]

    beyond = await client.get(f"{href}/history?after={len(log)}")
    assert (beyond.status_code, beyond.json()["entries"], beyond.json()["next"]) == (200, [], None)
    assert (await client.get(f"{API}/executions/nobody/history")).status_code == 404


async def test_large_values_are_fetched_on_their_own(client: httpx.AsyncClient) -> None:
    large = "y" * 100_000
    href = await started(client, definition(step("big", size=100_000), step("echo", data="inputs.x")), x=large)
    view = await ended(client, href)
    assert view["inputs"] is None
    assert view["large_inputs"]["size"] > 100_000
    assert view["outputs"] == {}
    assert view["large_outputs"].keys() == {"big", "echo"}
    link = view["large_outputs"]["big"]["href"]
    assert (await client.get(link)).json() == {"data": None, "text": "x" * 100_000}

    full = (await client.get(f"{href}?include_large=true")).json()
    assert full["inputs"] == {"x": large}
    assert full["outputs"]["echo"]["data"] == large
    assert full["large_outputs"] == {}


async def test_the_correlation_id_goes_along(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        f"{API}/executions", json={"definition": CHAIN, "inputs": {"x": 1}}, headers={"x-correlation-id": "trace-me"}
    )
    assert answer.headers["x-correlation-id"] == "trace-me"
    assert (await ended(client, answer.headers["location"]))["correlation_id"] == "trace-me"
