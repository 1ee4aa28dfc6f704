"""Bearer tokens for tests: proper ones, and the attacker's."""

import base64
import json
import time
from typing import Any

from joserfc import jws
from joserfc.jwk import Key

ISSUER = "https://id.test"
AUDIENCE = "conclave"
SECRET = "only-for-tests-0123456789-0123456789-tokens"


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are taken; a change to None leaves one out."""
    now = int(time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "role": "operator", "iat": now, "exp": now + 600}
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def signed(header: dict[str, Any], payload: Any, key: Key) -> str:
    registry = jws.JWSRegistry(algorithms=list(jws.JWSRegistry.algorithms), strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(payload).encode(), key, registry=registry)


def forged(header: dict[str, Any], payload: Any, signature: bytes = b"") -> str:
    """Three parts that nobody signed."""
    return ".".join((part(header), part(payload), _base64(signature)))


def part(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
