"""API keys through the API: made, shown once, listed, rotated and revoked, with the real access service behind it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.access.app import build as build_access
from services.edge.access.stored_keys import KEY_SECONDS
from services.runtime.store.documents import api_key_of
from tests.support.api_access import ADMIN_KEY
from tests.support.edge_world import ADMIN, API, World, until

KEYS = f"{API}/keys"
OVERLAP = 8  # seconds: so long that a machine that stands still for some has not let it pass


@pytest.fixture
async def client(bare: World) -> httpx.AsyncClient:
    """The admin's."""
    client = await bare.run_edge()
    await bare.run(build_access(bare.settings, bare.bus(), bare.store))
    return client


async def made(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post(KEYS, json={"name": "dashboard", "role": "viewer", **body})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["location"] == document["href"] == f"{KEYS}/{document['key_id']}"
    assert answer.headers["cache-control"] == "no-store"
    return document


async def status(world: World, key: str, path: str = "executions") -> int:
    return (await world.stranger().get(f"{API}/{path}", headers={"x-api-key": key})).status_code


async def test_a_key_is_made_shown_once_and_works_at_once(client: httpx.AsyncClient, bare: World) -> None:
    key = await made(client, rate_limit=600)
    assert key["key"].startswith(f"{key['key_id']}_")
    assert (key["role"], key["status"], key["rate_limit"], key["expires_at"]) == ("viewer", "valid", 600, None)
    assert key["created_by"] == "key:tests"
    assert (await status(bare, key["key"]), await status(bare, key["key"], "keys")) == (200, 403)

    shown = await client.get(key["href"])
    assert shown.json() == {name: value for name, value in key.items() if name != "key"}
    listed = await client.get(KEYS)
    assert [one["key_id"] for one in listed.json()["items"]] == sorted([ADMIN.id, key["key_id"]])
    stored = api_key_of(bare.store.rows["api_keys"][key["key_id"]])
    for text in (shown.text, listed.text):
        assert stored.secret_hash not in text
        assert key["key"] not in text
    assert key["key"].removeprefix(f"{key['key_id']}_") not in str(bare.store.rows), "the store has its hash alone"


async def test_keys_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    ids = {(await made(client, name=f"n{i}"))["key_id"] for i in range(5)} | {ADMIN.id}
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await client.get(KEYS, params={"limit": 2, **after})).json()
        seen += [one["key_id"] for one in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == sorted(ids)
    assert (await client.get(KEYS, params={"after": "nonsense"})).status_code == 400


async def test_keys_expire(client: httpx.AsyncClient, bare: World) -> None:
    in_an_hour = await made(client, expires_in=3_600)
    end = datetime.fromisoformat(in_an_hour["expires_at"])
    assert timedelta(minutes=59) < end - datetime.now(UTC) < timedelta(minutes=61)
    at = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0).isoformat()
    assert datetime.fromisoformat((await made(client, expires_at=at))["expires_at"]) == datetime.fromisoformat(at)

    soon = await made(client, expires_in=0.5)

    async def expired() -> bool:
        return await status(bare, soon["key"]) == 401

    await until(expired)
    assert (await client.get(soon["href"])).json()["status"] == "expired"


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "two words"},
        {"name": "x" * 101},
        {"name": "<script>"},
        {"role": "root"},
        {"expires_in": 0},
        {"expires_in": 1e12},
        {"expires_in": 5, "expires_at": "2999-01-01T00:00:00Z"},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "2999-01-01T00:00:00"},
        {"rate_limit": 0},
        {"secret": "mine"},
        {"key_id": "ck_000000000000"},
    ],
)
async def test_what_makes_no_key_is_refused(client: httpx.AsyncClient, bare: World, body: dict[str, Any]) -> None:
    answer = await client.post(KEYS, json={"name": "dashboard", "role": "viewer", **body})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
    assert bare.store.rows["api_keys"].keys() == {ADMIN.id}


async def test_a_rotated_key_goes_on_within_the_overlap_and_no_longer(client: httpx.AsyncClient, bare: World) -> None:
    old = await made(client, rate_limit=77)
    answer = await client.post(f"{old['href']}/rotate", json={"overlap": OVERLAP})
    assert answer.status_code == 201, answer.text
    new = answer.json()
    assert (new["name"], new["role"], new["rate_limit"]) == ("dashboard", "viewer", 77)
    assert new["key_id"] != old["key_id"]
    assert await status(bare, old["key"]) == 200, "within the overlap"
    assert await status(bare, new["key"]) == 200
    shown = (await client.get(old["href"])).json()
    assert shown["replaced_by"] == new["key_id"]

    async def refused() -> bool:
        return await status(bare, old["key"]) == 401

    await until(refused)
    assert time.time() >= datetime.fromisoformat(shown["expires_at"]).timestamp()
    assert await status(bare, new["key"]) == 200
    assert (await client.post(f"{old['href']}/rotate")).status_code == 409


async def test_a_revoked_key_is_refused_within_seconds(client: httpx.AsyncClient, bare: World) -> None:
    key = await made(client)
    assert await status(bare, key["key"]) == 200
    revoked = await client.delete(key["href"])
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    began = last_let_in = time.monotonic()

    async def refused() -> bool:
        nonlocal last_let_in
        asked_at = time.monotonic()  # by when it was asked: however long the answer took, it was judged no earlier
        if await status(bare, key["key"]) == 401:
            return True
        last_let_in = asked_at
        return False

    await until(refused)
    assert last_let_in - began < KEY_SECONDS
    again = await client.delete(key["href"])
    assert (again.status_code, again.json()) == (200, revoked.json())


async def test_the_last_admin_key_is_not_revoked_by_accident(client: httpx.AsyncClient) -> None:
    last = await client.delete(f"{KEYS}/{ADMIN.id}")
    assert last.status_code == 409
    assert "last valid admin key" in last.json()["detail"]
    await made(client, role="admin")
    assert (await client.delete(f"{KEYS}/{ADMIN.id}")).status_code == 200


@pytest.mark.parametrize("call", [("GET", ""), ("DELETE", ""), ("POST", "/rotate")])
async def test_a_key_that_is_not_there(client: httpx.AsyncClient, call: tuple[str, str]) -> None:
    method, path = call
    assert (await client.request(method, f"{KEYS}/ck_nobody000000{path}")).status_code == 404
    assert (await client.request(method, f"{KEYS}/{ADMIN_KEY}{path}")).status_code == 422, "a whole key is no id"


async def test_a_repeated_request_makes_no_second_key(client: httpx.AsyncClient, bare: World) -> None:
    keyed = {"idempotency-key": "k-1"}
    body = {"name": "once", "role": "viewer"}
    first = await client.post(KEYS, json=body, headers=keyed)
    again = await client.post(KEYS, json=body, headers=keyed)
    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["key_id"] == first.json()["key_id"]
    rotations = [await client.post(f"{first.json()['href']}/rotate", headers=keyed) for _ in range(2)]
    assert [answer.status_code for answer in rotations] == [201, 409]
    assert len(bare.store.rows["api_keys"]) == 3
    other = await client.post(KEYS, json=body, headers={"idempotency-key": "k-2"})
    assert other.status_code == 201


async def test_nobody_but_an_admin_touches_keys(client: httpx.AsyncClient, bare: World) -> None:
    operator = {"x-api-key": (await made(client, role="operator"))["key"]}
    stranger = bare.stranger()
    target = f"{KEYS}/{ADMIN.id}"
    calls = [("GET", KEYS), ("POST", KEYS), ("GET", target), ("POST", f"{target}/rotate"), ("DELETE", target)]
    for method, path in calls:
        assert (await stranger.request(method, path)).status_code == 401
        assert (await stranger.request(method, path, headers=operator)).status_code == 403
    assert api_key_of(bare.store.rows["api_keys"][ADMIN.id]) == ADMIN


async def test_without_the_access_service_it_says_so(bare: World) -> None:
    client = await bare.run_edge()
    answer = await client.post(KEYS, json={"name": "a", "role": "viewer"})
    assert answer.status_code == 503
    assert "no access service has ever been connected" in answer.json()["detail"]
    assert "key" not in answer.json()
