"""What each may do: every route says which scope it asks for, the document says the same, and roles have no more."""

import httpx
import pytest
from fastapi import FastAPI

from contracts.access import Role
from services.edge.access.requirements import PUBLIC
from services.edge.access.routes import declared
from services.edge.access.scopes import SCOPES, Scope
from tests.support.api_access import HEADERS
from tests.support.door import OPEN, application, bearer, holder, problem, token
from tests.support.edge_world import ADMIN, API, CHAIN, World


def routes(app: FastAPI) -> list[tuple[str, str, Scope | None]]:
    found = []
    for route, requirement in declared(app):
        assert requirement is not None, f"{route.path} declares neither a scope nor that it is public"
        found += [(method, str(route.path), requirement.scope) for method in sorted(route.methods or ())]
    return found


async def test_a_viewer_who_starts_is_refused(world: World) -> None:
    client, viewer = world.clients[0], holder(world, Role.VIEWER)
    before = (await client.get(f"{API}/executions")).json()["items"]
    answer = await world.stranger().post(f"{API}/executions", json={"definition": CHAIN}, headers=viewer)
    refused = problem(answer, 403, "forbidden")
    assert refused["scope"] == "executions:start"
    assert 'error="insufficient_scope", scope="executions:start"' in answer.headers["www-authenticate"]
    assert (await client.get(f"{API}/executions")).json()["items"] == before
    assert (await world.stranger().get(f"{API}/executions", headers=viewer)).status_code == 200


async def test_roles_come_from_tokens_as_well(nobody: httpx.AsyncClient) -> None:
    for role in Role:
        answer = await nobody.get(f"{API}/keys", headers=bearer(token(role=role.value)))
        assert answer.status_code == (200 if role is Role.ADMIN else 403)
    problem(await nobody.get(f"{API}/executions", headers=bearer(token(role="chief"))), 403, "forbidden")


def test_every_route_declares_what_it_asks_for() -> None:
    every = routes(application())
    assert len(every) >= 38
    assert {path for _, path, scope in every if scope is None} == OPEN
    assert {scope for _, path, scope in every if path.startswith(API)} >= set(Scope) - {
        Scope.METRICS_READ,
        Scope.AUDIT_READ,
    }
    changing = [(method, scope) for method, _, scope in every if method not in ("GET", "HEAD")]
    assert all(scope is not None and not scope.value.endswith(":read") for _, scope in changing)


async def test_a_route_that_declares_nothing_is_served_to_nobody() -> None:
    app = application(ADMIN)

    @app.get("/forgotten")
    async def forgotten() -> str:
        return "secret"

    @app.get("/open", dependencies=[PUBLIC])
    async def is_open() -> str:
        return "hello"

    with pytest.raises(AssertionError, match="/forgotten declares neither"):
        routes(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        assert (await client.get("/forgotten")).status_code == 401
        problem(await client.get("/forgotten", headers=HEADERS), 403, "forbidden")
        assert (await client.get("/open")).json() == "hello"


@pytest.mark.parametrize("role", [None, *Role])
async def test_every_route_is_closed_to_whom_it_is_not_for(door: World, role: Role | None) -> None:
    """Each route, with an id that does not exist: 401 without credentials, 403 without the scope, and anything else
    with it (nothing stands behind this edge, so what passes is not done)."""
    client = door.stranger()
    headers = {} if role is None else holder(door, role)
    held = SCOPES[role] if role is not None else frozenset()
    (server,) = door.running
    every = routes(server.app)
    for method, path, scope in every:
        url = path.replace("{key_id}", "ck_000000000000")
        for name in ("workflow_id", "execution_id", "step_id", "agent_id", "letter_id"):
            url = url.replace(f"{{{name}}}", "none")
        status = (await client.request(method, url, headers=headers)).status_code
        if scope is None or scope in held:
            assert status not in (401, 403), (method, url, status)
        else:
            assert status == (401 if role is None else 403), (method, url, status)


async def test_the_document_says_who_may_call_what() -> None:
    app = application()
    document = app.openapi()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["ApiKey"]["in"], schemes["ApiKey"]["name"]) == ("header", "X-API-Key")
    assert (schemes["Bearer"]["type"], schemes["Bearer"]["scheme"]) == ("http", "bearer")
    for method, path, scope in routes(app):
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation is None:
            continue
        if scope is None:
            assert operation["security"] == []
            assert "401" not in operation["responses"]
        else:
            assert operation["security"] == [{"ApiKey": [scope.value]}, {"Bearer": [scope.value]}]
            assert operation["responses"].keys() >= {"401", "403", "429", "503"}, path
