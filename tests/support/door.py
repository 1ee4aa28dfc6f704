"""Who comes to the edge in tests of who is let in: holders of keys and tokens, and what a refusal looks like."""

from typing import Any

import httpx
from fastapi import FastAPI
from joserfc.jwk import OctKey
from pydantic import SecretStr

from contracts.access import ApiKey, Role
from services.edge.app import create_application
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.security.api_keys import new_key_text
from services.runtime.store.documents import api_key_document
from tests.support.edge_world import World, edge_settings, stored_key
from tests.support.memory_store import MemoryStore
from tests.support.token_maker import AUDIENCE, ISSUER, SECRET, claims, signed

# What is open to everybody.
OPEN = {"/health", "/health/live", "/health/ready", "/docs", "/openapi.json", "/asyncapi", "/asyncapi.json"}
TOKENS = {"jwt_secret_key": SecretStr(SECRET), "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["type"]) == (status, f"urn:conclave:problem:{kind}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-correlation-id"] == document["correlation_id"] != ""
    return document


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


def token(**changes: Any) -> str:
    return signed({"alg": "HS256", "typ": "JWT"}, claims(**changes), OctKey.import_key(SECRET))


def holder(world: World, role: Role, **more: Any) -> dict[str, str]:
    """The header of somebody with a key of that role."""
    text = str(new_key_text())
    world.keep(stored_key(text, **{"name": role.value, "role": role, **more}))
    return {"x-api-key": text}


def application(*keys: ApiKey, **changes: Any) -> FastAPI:
    """An edge in this process, with nothing behind it and these keys in its store."""
    store = MemoryStore()
    store.rows["api_keys"] |= {key.id: api_key_document(key) for key in keys}
    return create_application(edge_settings().model_copy(update=changes), store, DirectBus(DirectBroker()))
