"""The examples of the API about API keys."""

from typing import Any

from services.edge.examples import CURSOR, STARTED_AT

KEY_ID = "ck_4f7k2m9q1z8x"
NEXT_KEY_ID = "ck_9d3h6w0b5n2c"
SHOWN_ONCE = f"{KEY_ID}_{'x' * 43}"
EXPIRES_AT = "2026-05-01T09:30:00.000000Z"

NEW_KEY: dict[str, Any] = {"name": "dashboard", "role": "viewer", "expires_in": 7_776_000, "rate_limit": 600}
ROTATE_KEY: dict[str, Any] = {"overlap": 86_400, "expires_in": 7_776_000}
KEY: dict[str, Any] = {
    "key_id": KEY_ID,
    "name": "dashboard",
    "role": "viewer",
    "status": "valid",
    "rate_limit": 600,
    "created_at": STARTED_AT,
    "created_by": "key:first-admin",
    "expires_at": EXPIRES_AT,
    "revoked_at": None,
    "replaced_by": None,
    "href": f"/api/v1/keys/{KEY_ID}",
}
MADE = {**KEY, "key": SHOWN_ONCE}
ROTATED = {
    **KEY,
    "key_id": NEXT_KEY_ID,
    "href": f"/api/v1/keys/{NEXT_KEY_ID}",
    "key": f"{NEXT_KEY_ID}_{'y' * 43}",
}
REVOKED = {**KEY, "status": "revoked", "revoked_at": STARTED_AT}

PROBLEMS: dict[int, dict[str, Any]] = {
    404: {
        "type": "urn:conclave:problem:not-found",
        "title": "No such thing",
        "status": 404,
        "detail": f"there is no API key {KEY_ID!r}",
    },
    409: {
        "type": "urn:conclave:problem:conflict",
        "title": "In conflict with what is stored",
        "status": 409,
        "detail": f"the API key {KEY_ID!r} is not valid any more",
    },
    503: {
        "type": "urn:conclave:problem:unavailable",
        "title": "Something that this answer needs is away",
        "status": 503,
        "detail": "no answer from the access service within 1.8 s: the command may still take effect; repeating this"
        " request is safe",
        "key_id": KEY_ID,
    },
}

__all__ = ["CURSOR", "KEY", "KEY_ID", "MADE", "NEW_KEY", "PROBLEMS", "REVOKED", "ROTATED", "ROTATE_KEY"]
