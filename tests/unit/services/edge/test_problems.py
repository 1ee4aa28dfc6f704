"""Every error is an RFC 9457 problem document."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from contracts import topology
from contracts.execution import Refused
from contracts.workflow import Fault
from services.edge import problems
from services.edge.correlation import CorrelationId
from services.edge.problems import Problem, refused, unavailable
from services.edge.reading import reading
from services.runtime.bus.base import BusUnavailable, UnroutableMessage
from services.runtime.store.base import BadCursor, StoreError, StoreUnavailable


class Item(BaseModel):
    name: str
    sizes: list[int]


RAISED: dict[str, Exception] = {
    "problem": Problem("not-found", "there is no thing 'x'", members={"thing": "x"}),
    "unavailable": unavailable("gone", execution_id="exec-1"),
    "store": StoreUnavailable("no server at 10.0.0.7"),
    "bus": BusUnavailable("no broker at 10.0.0.7"),
    "cursor": BadCursor("'%%' is no cursor"),
    "unexpected": StoreError("a bug"),
    "unroutable": UnroutableMessage(topology.command("x"), "x.v1"),
}


def application() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(CorrelationId)

    @app.get("/raise/{name}")
    async def raise_it(name: str) -> None:
        raise RAISED[name]

    @app.post("/items")
    async def items(item: Item, limit: int = 5) -> None: ...

    @app.get("/slow")
    async def slow() -> None:
        import asyncio

        async with reading(0.01):
            await asyncio.sleep(60)

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as made:
        yield made


def document(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, whose form is checked."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert content["status"] == status
    assert content["instance"] == answer.request.url.path
    assert content["correlation_id"] == answer.headers["x-correlation-id"]
    assert content["title"]
    return content


async def test_a_problem_keeps_its_kind_and_members(client: httpx.AsyncClient) -> None:
    content = document(await client.get("/raise/problem"), 404)
    assert content["type"] == "urn:conclave:problem:not-found"
    assert content["detail"] == "there is no thing 'x'"
    assert content["thing"] == "x"


@pytest.mark.parametrize("name", ["unavailable", "store", "bus"])
async def test_what_is_away_is_503_with_retry_after(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/raise/{name}")
    assert document(answer, 503)["type"] == "urn:conclave:problem:unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    assert "10.0.0.7" not in answer.text, "where things stand inside is nothing for clients"


async def test_a_read_that_takes_too_long_is_503(client: httpx.AsyncClient) -> None:
    answer = await client.get("/slow")
    assert document(answer, 503)["detail"] == "the store is away, or does not answer in time"
    assert "retry-after" in answer.headers


async def test_a_timeout_inside_a_read_keeps_its_own_name() -> None:
    with pytest.raises(StoreUnavailable, match="no server"):
        async with reading(1.0):
            raise StoreUnavailable("no server")


async def test_a_bad_cursor_is_400(client: httpx.AsyncClient) -> None:
    content = document(await client.get("/raise/cursor"), 400)
    assert content["errors"] == [{"path": "query.after", "code": "bad_cursor", "message": "'%%' is no cursor"}]


@pytest.mark.parametrize("name", ["unexpected", "unroutable"])
async def test_an_unexpected_error_is_500_and_tells_nothing(client: httpx.AsyncClient, name: str) -> None:
    content = document(await client.get(f"/raise/{name}"), 500)
    assert content["type"] == "about:blank"
    assert "bug" not in str(content)


async def test_unknown_paths_and_wrong_methods(client: httpx.AsyncClient) -> None:
    assert document(await client.get("/nothing"), 404)["detail"] == "nothing is served at /nothing"
    wrong = await client.get("/items")
    assert document(wrong, 405)["detail"] == "GET is not served at /items"
    assert wrong.headers["allow"] == "POST"


async def test_validation_lists_every_fault_with_its_path(client: httpx.AsyncClient) -> None:
    answer = await client.post("/items?limit=many", json={"sizes": [1, "two", "three"]})
    content = document(answer, 422)
    assert content["detail"].startswith("4 faults: ")
    assert {(e["path"], e["code"]) for e in content["errors"]} == {
        ("query.limit", "int_parsing"),
        ("body.name", "missing"),
        ("body.sizes[1]", "int_parsing"),
        ("body.sizes[2]", "int_parsing"),
    }
    assert all(error["message"] for error in content["errors"])


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("invalid", 422, "invalid"),
        ("not_found", 404, "not-found"),
        ("conflict", 409, "conflict"),
        ("already_exists", 409, "already-exists"),
        ("limit_reached", 409, "limit-reached"),
        ("unavailable", 503, "unavailable"),
        ("overloaded", 503, "overloaded"),
    ],
)
def test_a_refusal_is_a_problem_with_all_its_faults(code: Any, status: int, kind: str) -> None:
    faults = tuple(Fault(path=f"steps[{i}].id", code="duplicate_id", message="twice") for i in range(3))
    problem = refused(Refused(code=code, message="no", faults=faults))
    assert (problem.status, problem.kind, problem.detail) == (status, kind, "no")
    assert [error["path"] for error in problem.members["errors"]] == ["steps[0].id", "steps[1].id", "steps[2].id"]


def test_faults_below_a_part_of_the_request() -> None:
    faults = tuple(Fault(path=path, code="enum", message="no") for path in ("agent_type", "config.method"))
    problem = refused(Refused(code="invalid", message="no", faults=faults)).below("body")
    assert [error["path"] for error in problem.members["errors"]] == ["body.agent_type", "body.config.method"]
    assert (problem.status, problem.detail) == (422, "no")
    away = refused(Refused(code="unavailable", message="later", retry_after=6.5)).below("body")
    assert (away.members, away.headers) == ({}, {"Retry-After": "7"})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123", True),
        ("x" * 200, True),
        ("x" * 201, False),
        ("", False),
        ("with space", False),
        ("tab\there", False),
    ],
)
async def test_the_correlation_id_is_kept_or_replaced(client: httpx.AsyncClient, given: str, kept: bool) -> None:
    answer = await client.get("/nothing", headers={"X-Correlation-ID": given})
    returned = answer.headers["x-correlation-id"]
    assert (returned == given) is kept
    assert len(returned) >= 7
