"""Texts that would be HTML, a header, or a log line of their own: they stay texts."""

import json
from typing import Any

import httpx
import pytest

from tests.support.attacks import JSON
from tests.support.edge_world import API, World, definition, ended, started, step

SCRIPT = "<script>alert(1)</script>"
HTML = f"\"'>{SCRIPT}<img src=x onerror=alert(1)>"


def is_no_page(answer: httpx.Response) -> bool:
    kind = answer.headers.get("content-type", "")
    return answer.headers["x-content-type-options"] == "nosniff" and ("json" in kind or kind.startswith("text/plain"))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/{SCRIPT}", None),
        ("GET", f"{API}/executions/{SCRIPT}", None),
        ("GET", f"{API}/executions?status={SCRIPT}", None),
        ("GET", f"{API}/executions?after={SCRIPT}", None),
        ("GET", f"{API}/agents/{SCRIPT}", None),
        ("GET", f"{API}/workflows/{SCRIPT}", None),
        ("DELETE", f"{API}/workflows/{SCRIPT}", None),
        ("PUT", f"{API}/workflows/{SCRIPT}", None),
        ("POST", f"{API}/workflows", {HTML: HTML, "name": HTML, "steps": [{"id": HTML}]}),
        ("POST", f"{API}/agents", {"agent_type": HTML, "agent_id": HTML}),
        ("POST", f"{API}/executions", HTML),
        ("POST", f"{API}/agents/{SCRIPT}/message", {"payload": {"a": HTML}}),
    ],
)
async def test_no_error_is_a_page(client: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    content = None if body is None else json.dumps(body).encode()
    answer = await client.request(method, path, content=content, headers={**JSON, "accept": "text/html"})
    assert 400 <= answer.status_code < 500
    assert is_no_page(answer)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_users_wrote_comes_back_as_json(client: httpx.AsyncClient) -> None:
    wanted = {**definition(step("a", data=HTML), name=HTML), "description": HTML}
    stored = await client.post(f"{API}/workflows", json=wanted)
    href = await started(client, wanted)
    view = await ended(client, href)
    assert view["workflow_name"] == HTML
    for path in (stored.headers["location"], f"{API}/workflows", href, f"{href}/history", f"{href}/steps/a/output"):
        answer = await client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 200
        assert SCRIPT in answer.text or "script" in answer.text
        assert is_no_page(answer)


async def test_the_pages_hold_nothing_that_a_user_wrote(client: httpx.AsyncClient) -> None:
    await client.post(f"{API}/workflows", json=definition(step("a"), name=HTML))
    for path in ("/docs", "/asyncapi"):
        page = await client.get(f"{path}?{SCRIPT}")
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "script-src" in page.headers["content-security-policy"]
        assert "alert(1)" not in page.text


@pytest.mark.parametrize("given", ["a\tb", "x" * 201, "ä", "a b", "\x1b[2J", "\x7f"])
async def test_a_correlation_id_that_is_none_is_not_given_back(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/health", headers=[(b"x-correlation-id", given.encode())])
    if answer.status_code == 400:  # the HTTP server takes no control characters in a header
        assert given not in answer.text
    else:
        assert answer.headers["x-correlation-id"].isalnum()
        assert answer.headers["x-correlation-id"] != given


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x=1", "a%0d%0aSet-Cookie:x=1", "a b", "../../x", "é"])
async def test_no_id_becomes_a_header_of_its_own(client: httpx.AsyncClient, name: str) -> None:
    """``Location`` holds the ids that clients choose."""
    for answer in (
        await client.post(f"{API}/workflows", params={"workflow_id": name}, json=definition(step("a"))),
        await client.post(f"{API}/agents", json={"agent_type": "desk_agent", "agent_id": name}),
    ):
        assert "set-cookie" not in answer.headers
        assert answer.status_code < 500
        location = answer.headers.get("location", "")
        assert not set(location) & set("\r\n ")
        assert ".." not in location.split("/")


async def test_metrics_name_routes_and_not_what_was_asked_for(client: httpx.AsyncClient, world: World) -> None:
    """A label for each path would fill the memory of whoever keeps the metrics."""
    for i in range(30):
        await client.get(f"{API}/executions/label-attack-{i}")
        await client.get(f"/label-attack-{i}")
    text = (await client.get("/metrics")).text
    assert "label-attack" not in text
    assert "{execution_id}" in text
