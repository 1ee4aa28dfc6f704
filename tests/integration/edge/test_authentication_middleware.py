"""The way in: who is let in by the edge as it runs, who is not, what each is told, and what a refusal costs."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import OctKey
from structlog.testing import capture_logs

from contracts.access import Role
from services.edge.access.stored_keys import KEY_SECONDS
from services.runtime.security.api_keys import new_key_text
from services.runtime.store.base import StoreUnavailable
from tests.support.api_access import ADMIN_KEY, HEADERS
from tests.support.door import OPEN, TOKENS, application, bearer, holder, problem, token
from tests.support.edge_world import (
    ADMIN,
    API,
    CHAIN,
    PATIENCE,
    World,
    definition,
    ended,
    followed,
    started,
    step,
    stored_key,
)
from tests.support.token_maker import SECRET, claims, forged, signed

GIGABYTE = 1024**3


# ---- who is let in


async def test_authentication_middleware(door: World, nobody: httpx.AsyncClient) -> None:
    """No credentials, wrong ones and right ones, in each way that they may come."""
    none = problem(await nobody.get(f"{API}/executions"), 401, "unauthenticated")
    assert "API key" in none["detail"]
    wrong = str(new_key_text())
    altered = ADMIN_KEY[:-1] + ("A" if ADMIN_KEY[-1] != "A" else "B")
    for bad in (wrong, altered, ADMIN_KEY[:-1], ADMIN_KEY + "A", ADMIN_KEY.upper(), "", "x", "admin", f"{ADMIN.id}_"):
        for headers in ({"x-api-key": bad}, bearer(bad or "-")):
            answer = await nobody.get(f"{API}/executions", headers=headers)
            problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith('Bearer realm="conclave", error="')
    right = [{"x-api-key": ADMIN_KEY}, {"X-API-KEY": ADMIN_KEY}, bearer(ADMIN_KEY), bearer(token())]
    right += [{"authorization": f"bearer  {ADMIN_KEY}"}]
    for headers in right:
        assert (await nobody.get(f"{API}/executions", headers=headers)).status_code == 200, headers


async def test_an_unknown_key_and_a_wrong_secret_are_answered_alike(door: World, nobody: httpx.AsyncClient) -> None:
    wrong_secret = f"{ADMIN.id}_{new_key_text().secret}"
    answers = [
        await nobody.get(f"{API}/executions", headers={"x-api-key": key}) for key in (str(new_key_text()), wrong_secret)
    ]
    unknown, wrong = (
        {name: value for name, value in answer.json().items() if name != "correlation_id"} for answer in answers
    )
    assert unknown == wrong
    assert answers[0].headers["www-authenticate"] == answers[1].headers["www-authenticate"]


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", ADMIN_KEY), ("x-api-key", ADMIN_KEY)],
        [("x-api-key", ADMIN_KEY), ("authorization", f"Bearer {ADMIN_KEY}")],
        [("authorization", "Basic dXNlcjpwYXNzd29yZA==")],
        [("authorization", ADMIN_KEY)],
        [("authorization", "Bearer")],
        [("authorization", f"Bearer {ADMIN_KEY} {ADMIN_KEY}")],
        [("cookie", f"X-API-Key={ADMIN_KEY}")],
    ],
)
async def test_what_is_no_clear_statement_is_refused(nobody: httpx.AsyncClient, headers: list[tuple[str, str]]) -> None:
    problem(await nobody.get(f"{API}/executions", headers=headers), 401, "unauthenticated")
    assert (await nobody.get(f"{API}/executions", params={"api_key": ADMIN_KEY})).status_code == 401


async def test_the_header_is_the_one_in_the_settings(bare: World) -> None:
    bare.settings = bare.settings.model_copy(update={"api_key_header": "X-Conclave"})
    client = await bare.run_edge()
    assert (await client.get(f"{API}/executions")).status_code == 401
    assert (await bare.stranger().get(f"{API}/executions", headers={"x-conclave": ADMIN_KEY})).status_code == 200
    scheme = (await client.get("/openapi.json")).json()["components"]["securitySchemes"]["ApiKey"]
    assert scheme["name"] == "X-Conclave"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 200),
        ({"expires_at": 3_600}, 200),
        ({"expires_at": -1}, 401),
        ({"revoked_at": 1.0}, 401),
        ({"expires_at": 3_600, "replaced_by": "ck_000000000000"}, 200),
        ({"expires_at": -1, "replaced_by": "ck_000000000000"}, 401),
    ],
    ids=["valid", "not expired", "expired", "revoked", "within the overlap", "after the overlap"],
)
async def test_a_key_is_taken_while_it_is_valid(
    door: World, nobody: httpx.AsyncClient, more: dict[str, Any], status: int
) -> None:
    if "expires_at" in more:  # from now on, and not from when the tests were collected
        more = {**more, "expires_at": time.time() + more["expires_at"]}
    answer = await nobody.get(f"{API}/executions", headers=holder(door, Role.VIEWER, **more))
    assert answer.status_code == status, answer.text


async def test_attacks_with_tokens_are_refused_over_http(nobody: httpx.AsyncClient) -> None:
    own = OctKey.generate_key(256)
    whole = token(role="admin")
    attacks = {
        "none": forged({"alg": "none", "typ": "JWT"}, claims(role="admin")),
        "another key": signed({"alg": "HS256"}, claims(role="admin"), own),
        "another algorithm": signed({"alg": "HS512"}, claims(role="admin"), OctKey.import_key(SECRET)),
        "expired": token(exp=int(time.time()) - 3_600),
        "wrong audience": token(aud="other"),
        "wrong issuer": token(iss="https://evil.test"),
        "altered": whole[:-2] + ("A" if whole[-2] != "A" else "B") + whole[-1],
        "huge": token(filler="x" * 20_000),
        "no subject": token(sub=None),
    }
    answers = {name: await nobody.get(f"{API}/executions", headers=bearer(bad)) for name, bad in attacks.items()}
    for name, answer in answers.items():
        assert answer.status_code == 401, name
        assert attacks[name] not in answer.text


async def test_tokens_are_taken_nowhere_where_they_are_not_configured(bare: World) -> None:
    client = await bare.run_edge()
    answer = await bare.stranger().get(f"{API}/executions", headers=bearer(token()))
    assert "bearer tokens are not taken here" in problem(answer, 401, "unauthenticated")["detail"]
    assert (await client.get(f"{API}/executions")).status_code == 200


async def test_only_what_says_so_is_open(nobody: httpx.AsyncClient) -> None:
    for path in OPEN:
        assert (await nobody.get(path)).status_code == 200, path
        assert (await nobody.get(path, headers={"x-api-key": "wrong"})).status_code == 200, path
    for path in ("/metrics", API, "/", "/redoc", "/nothing", f"{API}/executions/", f"{API}//executions", "/health/x"):
        problem(await nobody.get(path), 401, "unauthenticated")
    for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "DELETE"):
        problem(await nobody.request(method, f"{API}/workflows"), 401, "unauthenticated")


async def test_who_is_signed_in_is_told_what_is_not_there(door: World) -> None:
    client = door.clients[0]
    assert (await client.get("/nothing")).status_code == 404
    assert (await client.put(f"{API}/workflows")).status_code == 405


# ---- what a refusal costs


class Flood:
    def __init__(self) -> None:
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < GIGABYTE:
            self.taken += 65_536
            yield b"x" * 65_536


@pytest.mark.parametrize("role", [None, Role.VIEWER])
async def test_nothing_is_read_of_whom_is_not_let_in(role: Role | None) -> None:
    headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
    text = str(new_key_text())
    if role is not None:
        headers["x-api-key"] = text
    app = application(stored_key(text, role=role or Role.VIEWER))
    flood = Flood()
    pressure = app.state.edge.pressure
    for _ in range(pressure.window):
        pressure.enter()  # the gate is full, and yet nobody is told so who has no business there
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        answer = await client.post(f"{API}/executions", content=flood, headers=headers)
    assert answer.status_code == (401 if role is None else 403)
    assert answer.headers["connection"] == "close"
    assert flood.taken == 0


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with its length"])
@pytest.mark.parametrize("key", [HEADERS, {}], ids=["signed in", "nobody"])
async def test_a_gigabyte_is_refused_before_it_is_sent(door: World, chunked: bool, key: dict[str, str]) -> None:
    """Over a socket of our own: what the server took of it is what we could send before it was closed."""
    (server,) = door.running
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    length = "transfer-encoding: chunked" if chunked else f"content-length: {GIGABYTE}"
    lines = [f"POST {API}/executions HTTP/1.1", "host: x", "content-type: application/json", length]
    writer.write("\r\n".join([*lines, *(f"{name}: {value}" for name, value in key.items()), "", ""]).encode())
    answer = asyncio.create_task(reader.read(4_096))
    sent = 0
    try:
        while sent < GIGABYTE and not answer.done():
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n" if chunked else b"x" * 65_536)
            await writer.drain()
            sent += 65_536
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    async with asyncio.timeout(PATIENCE):
        head = (await answer).decode()
    assert head.startswith("HTTP/1.1 413 " if key else "HTTP/1.1 401 "), head
    assert "connection: close" in head.lower()
    assert sent < door.settings.max_body_bytes + 16 * 1024 * 1024, "the rest was never taken"
    writer.close()


async def test_guesses_ask_the_store_little(door: World) -> None:
    """One id, however often it is tried, is one look; and after too many failures new ids are not looked up at all."""
    door.settings = door.settings.model_copy(update={"rate_limit": 200})
    (server,) = door.running
    door.running.clear()
    await server.stop()
    await door.run_edge()
    door.edge.authenticator._failures._clock = lambda: 30.0  # no minute ends meanwhile, after which there is room again
    client = door.stranger()
    assert (await client.get(f"{API}/executions", headers=HEADERS)).status_code == 200
    door.store.calls.clear()
    statuses = [
        (await client.get(f"{API}/executions", headers={"x-api-key": str(new_key_text())})).status_code
        for _ in range(60)
    ]
    assert statuses == [401] * 20 + [429] * 40
    assert door.store.calls["get_api_key"] == 20
    refused = await client.get(f"{API}/executions", headers={"x-api-key": str(new_key_text())})
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert "have failed" in problem(refused, 429, "rate-limited")["detail"]
    assert (await client.get(f"{API}/executions", headers=HEADERS)).status_code == 200, "who is known goes on"
    assert (await client.get(f"{API}/executions", headers=bearer(token()))).status_code == 200


async def test_credentials_that_cannot_be_read_count_as_failures_too(bare: World) -> None:
    bare.settings = bare.settings.model_copy(update={"rate_limit": 50})
    await bare.run_edge()
    client = bare.stranger()
    bad = [("x-api-key", "a"), ("x-api-key", "b")]
    statuses = [(await client.get(f"{API}/executions", headers=bad)).status_code for _ in range(8)]
    assert statuses == [401] * 5 + [429] * 3


async def test_a_store_that_is_away_lets_nobody_in(door: World, nobody: httpx.AsyncClient) -> None:
    async def away(operation: str, moment: str) -> None:
        raise StoreUnavailable("mongodb://user:hunter2@host is away")

    door.store.hook = away
    answer = await nobody.get(f"{API}/agents", headers={"x-api-key": str(new_key_text())})
    problem(answer, 503, "unavailable")
    assert "hunter2" not in answer.text
    assert (await nobody.get(f"{API}/agents")).status_code == 401


# ---- how often


async def test_a_rate_limit_is_a_callers_own(door: World, nobody: httpx.AsyncClient) -> None:
    slow, fast = holder(door, Role.VIEWER, name="slow", rate_limit=3), holder(door, Role.VIEWER, name="fast")
    answers = [await nobody.get(f"{API}/executions", headers=slow) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    refused = problem(answers[-1], 429, "rate-limited")
    assert "3 requests a minute are allowed to 'slow'" in refused["detail"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 120
    for _ in range(10):
        assert (await nobody.get(f"{API}/executions", headers=fast)).status_code == 200


async def test_a_subject_has_one_limit_whatever_its_tokens(bare: World) -> None:
    bare.settings = bare.settings.model_copy(update={**TOKENS, "rate_limit": 4})
    await bare.run_edge()
    client = bare.stranger()
    statuses = [
        (await client.get(f"{API}/executions", headers=bearer(token(jti=str(i))))).status_code for i in range(6)
    ]
    assert statuses == [200] * 4 + [429] * 2
    assert (await client.get(f"{API}/executions", headers=bearer(token(sub="bob")))).status_code == 200


# ---- what follows from who it is


async def test_messages_and_executions_say_who_asked(world: World) -> None:
    client = world.clients[0]
    href = await started(client, CHAIN, x=1)
    assert (await client.get(href)).json()["client"] == "key:tests"


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_stream_ends_with_the_key_that_it_was_opened_with(world: World, how: str) -> None:
    href = await started(world.clients[0], definition(step("held", gate="g"), step("next", "held")))
    text = str(new_key_text())
    # So late that it is still good when the stream is opened, on a machine that stands still for seconds.
    end = time.time() + 8.0 if how == "expired" else None
    viewer = stored_key(text, role=Role.VIEWER, expires_at=end)
    world.keep(viewer)
    async with followed(world.stranger(), href, **{"x-api-key": text}) as stream:
        await stream.until("step_dispatched")
        seen = list(stream.events)
        if how == "revoked":
            world.keep(viewer.model_copy(update={"revoked_at": time.time()}))
        await asyncio.sleep(KEY_SECONDS + 0.1 if end is None else max(0.0, end - time.time()) + 0.1)
        world.open_gate("g")
        assert await stream.rest() == seen
    assert (await ended(world.clients[0], href))["status"] == "completed"


async def test_idempotency_keys_belong_to_their_caller(world: World) -> None:
    world_client = world.stranger()
    keyed = {"idempotency-key": "the-same"}
    body = {"definition": CHAIN, "inputs": {"x": 1}}
    callers = [HEADERS, holder(world, Role.OPERATOR, name="ann"), holder(world, Role.OPERATOR, name="bob")]
    ids = [
        (await world_client.post(f"{API}/executions", json=body, headers={**keyed, **who})).json()["execution_id"]
        for who in (*callers, *callers)
    ]
    assert len(set(ids)) == 3
    assert ids[:3] == ids[3:]


async def test_no_secret_is_in_a_log_or_a_problem(door: World, nobody: httpx.AsyncClient) -> None:
    wrong, bad_token = str(new_key_text()), token(aud="other")
    with capture_logs() as logs:
        answers = [
            await nobody.get(f"{API}/executions", headers={"x-api-key": wrong}),
            await nobody.get(f"{API}/executions", headers=bearer(bad_token)),
            await nobody.get(f"{API}/executions", headers=bearer(f"{wrong}x")),
            await nobody.get(f"{API}/keys", headers=HEADERS),
        ]
    said = str(logs) + "".join(answer.text + str(answer.headers) for answer in answers)
    for secret in (
        wrong[len("ck_000000000000_") :],
        bad_token.rpartition(".")[2],
        ADMIN_KEY.rpartition("_")[2],
        SECRET,
    ):
        assert secret not in said
    assert ADMIN.secret_hash not in said
