"""What browsers are told: headers against what pages do to each other, and which pages may call."""

import httpx
import pytest

from tests.support.api_access import HEADERS
from tests.support.door import application
from tests.support.edge_world import API, World


async def test_answers_have_security_headers(door: World, nobody: httpx.AsyncClient) -> None:
    signed_in = await nobody.get(f"{API}/executions", headers=HEADERS)
    refused = await nobody.get(f"{API}/executions")
    public = await nobody.get("/health")
    for answer in (signed_in, refused, public):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
        assert "strict-transport-security" not in answer.headers, "it came by http"
    assert signed_in.headers["cache-control"] == "no-store"
    assert refused.headers["cache-control"] == "no-store"
    for path in ("/docs", "/asyncapi"):
        page = await nobody.get(path)
        assert "script-src https://" in page.headers["content-security-policy"]
        assert "'unsafe-inline'" not in page.headers["content-security-policy"].partition("style-src")[0]


async def test_https_is_kept_to() -> None:
    app = application()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://edge") as client:
        assert (await client.get("/docs")).headers["strict-transport-security"].startswith("max-age=")


async def test_an_unexpected_error_has_the_headers_too(door: World) -> None:
    async def broken(operation: str, moment: str) -> None:
        if operation == "list_headers":
            raise RuntimeError("broken")

    door.store.hook = broken
    answer = await door.clients[0].get(f"{API}/executions")
    assert answer.status_code == 500
    assert "broken" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("origins", "allowed", "credentials"),
    [(("https://a.test",), "https://a.test", "true"), (("*",), "*", None)],
)
async def test_a_preflight_is_answered_without_credentials_and_allows_them(
    origins: tuple[str, ...], allowed: str, credentials: str | None
) -> None:
    app = application(cors_origins=origins, api_key_header="X-Conclave")
    asked = {
        "origin": "https://a.test",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-conclave, authorization, content-type, idempotency-key",
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        preflight = await client.options(f"{API}/executions", headers=asked)
        refused = await client.get(f"{API}/executions", headers={"origin": "https://a.test"})
        other = await client.options(f"{API}/executions", headers={**asked, "origin": "https://evil.test"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == allowed
    assert preflight.headers.get("access-control-allow-credentials") == credentials
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == allowed, "a page may read why it was refused"
    assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
    assert (other.status_code == 400) == (origins != ("*",))
