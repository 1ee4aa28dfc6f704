"""Request bodies: JSON or YAML, limited, with clear words about what cannot be read."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from services.edge import problems
from services.edge.access.body_limit import BodyLimit
from services.edge.bodies import read_body, read_model, read_object
from services.edge.models import ExecuteDefinition

MAX_BYTES = 8 * 1024 * 1024


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimit, most=MAX_BYTES)

    @app.post("/any")
    async def any_body(request: Request) -> Any:
        return {"read": await read_body(request)}

    @app.post("/object")
    async def an_object(request: Request) -> Any:
        return await read_object(request)

    @app.post("/model")
    async def a_model(request: Request) -> Any:
        return (await read_model(request, ExecuteDefinition)).model_dump()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as made:
        yield made


async def post(client: httpx.AsyncClient, path: str, body: Any, content_type: str | None) -> httpx.Response:
    headers = {"content-type": content_type} if content_type else {}
    return await client.post(path, content=body, headers=headers)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '{"a": [1, 2.5, null, "é"]}'),
        ("application/json; charset=utf-8", '{"a": [1, 2.5, null, "é"]}'),
        ("application/vnd.conclave+json", '{"a": [1, 2.5, null, "é"]}'),
        ("application/yaml", "a: [1, 2.5, null, é]"),
        ("application/x-yaml", "a:\n- 1\n- 2.5\n-\n- é"),
        ("text/yaml", "a: [1, 2.5, ~, 'é']"),
        ("Text/YAML; charset=utf-8", "a: [1, 2.5, ~, 'é']"),
    ],
)
async def test_json_and_yaml_give_the_same(client: httpx.AsyncClient, content_type: str, body: str) -> None:
    answer = await post(client, "/any", body.encode(), content_type)
    assert answer.json() == {"read": {"a": [1, 2.5, None, "é"]}}


async def test_no_body_is_none(client: httpx.AsyncClient) -> None:
    assert (await client.post("/any")).json() == {"read": None}


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_other_content_types_are_415(client: httpx.AsyncClient, content_type: str | None) -> None:
    answer = await post(client, "/any", b"{}", content_type)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


async def test_json_syntax_names_line_and_column(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/any", b'{\n  "a": 1,\n}', "application/json")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "json_syntax"
    assert "line 3 column 1" in answer.json()["detail"]


async def test_yaml_syntax_names_line_and_column(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/any", b"steps:\n  - id: a\n id: b\n", "application/yaml")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["code"], error["line"], error["column"]) == ("yaml_syntax", 3, 2)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":NaN}', b'"\\ud800"', b"1" * 5000, b"{} {}", b"\xff"])
async def test_what_is_no_json_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await post(client, "/any", body, "application/json")).status_code == 400


async def test_an_infinite_number_is_refused_with_its_path(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/any", b'{"a": [{"b": 1}, {"b": -1e999}]}', "application/json")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "body.a[1].b"


@pytest.mark.parametrize("content_type", ["application/json", "application/yaml"])
async def test_a_body_up_to_the_limit_is_read(client: httpx.AsyncClient, content_type: str) -> None:
    body = json.dumps({"text": "x" * (MAX_BYTES - len('{"text": ""}'))}).encode()
    assert len(body) == MAX_BYTES
    answer = await post(client, "/any", body, content_type)
    assert answer.status_code == 200
    assert len(answer.json()["read"]["text"]) == MAX_BYTES - len('{"text": ""}')


async def test_a_body_over_the_limit_is_413(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/any", b" " * (MAX_BYTES + 1), "application/json")
    assert answer.status_code == 413
    assert answer.json()["max_bytes"] == MAX_BYTES


async def test_a_body_without_a_length_is_counted_as_it_comes(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1_000_000

    answer = await post(client, "/any", endless(), "application/json")
    assert answer.status_code == 413
    assert sent <= MAX_BYTES // 1_000_000 + 2


@pytest.mark.parametrize(("body", "found"), [(b"", "nothing"), (b"[]", "list"), (b'"a"', "str"), (b"null", "nothing")])
async def test_an_object_is_expected(client: httpx.AsyncClient, body: bytes, found: str) -> None:
    answer = await post(client, "/object", body, "application/json")
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"the body must be an object, not {found}"


async def test_a_model_lists_every_fault(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/model", b'{"definitions": {}, "inputs": []}', "application/json")
    assert answer.status_code == 422
    assert {(e["path"], e["code"]) for e in answer.json()["errors"]} == {
        ("body.definition", "missing"),
        ("body.inputs", "dict_type"),
        ("body.definitions", "extra_forbidden"),
    }
