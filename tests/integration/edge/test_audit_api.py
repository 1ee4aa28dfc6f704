"""The audit log through the API: what requests leave in it, filters and pages, and who may see it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from contracts import topology
from contracts.access import Role
from contracts.audit import AuditFilter
from services.auditor.app import build as build_auditor
from services.auditor.verifying import verify
from services.runtime.audit_chain import append_records
from services.runtime.bus.base import Frame
from services.runtime.security.api_keys import new_key_text
from services.runtime.store.base import Page
from tests.support.api_access import HEADERS
from tests.support.edge_world import API, CHAIN, World, ended, started, stored_key, until
from tests.support.store_operations import record

AUDIT = f"{API}/monitoring/audit"


@pytest.fixture
async def audited(world: World) -> World:
    await world.run(build_auditor(world.settings, world.bus(), world.store))
    return world


async def entries(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(AUDIT, params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def until_there_are(client: httpx.AsyncClient, count: int, **query: Any) -> list[dict[str, Any]]:
    async def there() -> bool:
        return len(await entries(client, **query)) >= count

    await until(there)
    found = await entries(client, **query)
    assert len(found) == count
    return found


async def test_a_start_and_what_came_of_it(audited: World, client: httpx.AsyncClient) -> None:
    answer = await client.post(
        f"{API}/executions",
        json={"definition": CHAIN, "inputs": {"x": "secret-content"}},
        headers={"X-Correlation-ID": "corr-1"},
    )
    execution_id = answer.json()["execution_id"]
    await ended(client, answer.headers["location"])
    found = await until_there_are(client, 4, correlation_id="corr-1")
    told = {entry["action"]: (entry["actor"], entry["source"], entry["result"]) for entry in found}
    assert told == {
        "POST /api/v1/executions": ("unverified:key:tests", "127.0.0.1", "done"),
        "execution.start.v1": ("unverified:key:tests", "conclave.commands/execution.start_now", "sent"),
        "execution.accepted.v1": (told["execution.accepted.v1"][0], told["execution.accepted.v1"][1], "done"),
        "execution.completed.v1": ("unverified:orchestrator", "conclave.events/execution.completed", "done"),
    }
    assert told["execution.accepted.v1"][1].startswith("conclave.replies/")
    about = {entry["subject"] for entry in found if entry["action"].startswith("execution.")}
    assert about == {execution_id}
    rows, _ = await audited.store.list_audit(AuditFilter(), Page(500))
    assert "secret-content" not in str(rows)
    assert (await verify(audited.store, {})).whole


async def test_refused_requests_are_on_record(audited: World, client: httpx.AsyncClient) -> None:
    viewer = new_key_text()
    audited.keep(stored_key(str(viewer), name="looker", role=Role.VIEWER))
    port = client.base_url.port
    assert port is not None
    nobody = audited.client(port)
    wrong = audited.client(port, {"X-API-Key": str(new_key_text())})
    looker = audited.client(port, {"X-API-Key": str(viewer)})
    for one, status in ((nobody, 401), (wrong, 401), (looker, 403)):
        assert (await one.post(f"{API}/executions", json={"definition": CHAIN})).status_code == status
    found = await until_there_are(client, 3, action="POST /api/v1/executions", result="refused")
    assert [(entry["actor"], entry["detail"]) for entry in reversed(found)] == [
        ("unverified:anonymous", "401 unauthenticated"),
        ("unverified:anonymous", "401 unauthenticated"),
        ("unverified:key:looker", "403 forbidden"),
    ]
    assert (await looker.get(AUDIT)).status_code == 403
    assert (await nobody.get(AUDIT)).status_code == 401
    assert str(viewer) not in str(await entries(client, limit=500))


async def test_what_is_refused_on_the_broker_is_on_record(audited: World, client: httpx.AsyncClient) -> None:
    bus = audited.bus()
    await bus.start()
    address = topology.command("execution.cancel")
    await bus.publish([Frame(address, b"no json", "execution.cancel.v1", "m-bad")])
    found = await until_there_are(client, 2, action="execution.cancel.v1", result="refused")
    assert sorted(entry["source"] for entry in found) == ["conclave.commands/execution.cancel"] * 2
    assert sorted(entry["detail"].partition(":")[0] for entry in found) == ["contract", "no JSON"]
    await bus.close()


async def test_filters_and_pages(audited: World, client: httpx.AsyncClient) -> None:
    base = 1_000_000_000.0
    await append_records(
        audited.store, [record(f"r{i}", actor=f"key:p{i % 2}", action="paged", at=base + i) for i in range(7)]
    )
    seen: list[str] = []
    after: str | None = None
    while True:
        query = {"action": "paged", "limit": 3} | ({"after": after} if after else {})
        page = (await client.get(AUDIT, params=query)).json()
        seen += [entry["record_id"] for entry in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [f"r{i}" for i in range(6, -1, -1)]
    assert [one["record_id"] for one in await entries(client, actor="key:p1", action="paged")] == ["r5", "r3", "r1"]
    start = datetime.fromtimestamp(base, UTC)
    some = await entries(
        client,
        action="paged",
        since=(start + timedelta(seconds=2)).isoformat(),
        until=(start + timedelta(seconds=4)).isoformat(),
    )
    assert [one["record_id"] for one in some] == ["r3", "r2"]
    assert [one["at"] for one in some] == ["2001-09-09T01:46:43Z", "2001-09-09T01:46:42Z"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("after=x", 400), ("result=maybe", 422), ("since=yesterday", 422), ("limit=0", 422), ("since=2026-01-01", 422)],
)
async def test_bad_questions(client: httpx.AsyncClient, query: str, status: int) -> None:
    assert (await client.get(f"{AUDIT}?{query}")).status_code == status


async def test_an_altered_entry_is_named_and_not_shown(audited: World, client: httpx.AsyncClient) -> None:
    await append_records(audited.store, [record("r1", subject="altered")])
    (row,) = [row for row in audited.store.rows["audit"].values() if row["subject"] == "altered"]
    row["actor"] = "key:innocent"
    answer = await client.get(AUDIT, params={"subject": "altered"})
    assert answer.status_code == 503
    assert answer.json()["entry"] == row["n"]
    assert "audit verify" in answer.json()["detail"]


async def test_what_waits_when_the_edge_stops_is_sent_first(audited: World, client: httpx.AsyncClient) -> None:
    await started(client, CHAIN)
    edge = next(service for service in audited.running if service.name == "edge")
    await client.get(f"{API}/workflows", headers={**HEADERS, "X-Correlation-ID": "the-last"})
    audited.running.remove(edge)
    await edge.stop()

    async def there() -> bool:
        rows, _ = await audited.store.list_audit(AuditFilter(correlation_id="the-last"), Page())
        return len(rows) == 1

    await until(there)
