"""API keys as people read them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from contracts.access import ApiKey

COLUMNS = ("id", "name", "role", "status", "created", "created by", "expires", "requests/min")


def status(key: ApiKey, now: float) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.valid(now):
        return "expired"
    return "valid" if key.replaced_by is None else f"valid, replaced by {key.replaced_by}"


def shown(key: ApiKey, now: float) -> dict[str, Any]:
    """Everything but the hash, as JSON; times in epoch seconds."""
    return {**key.model_dump(mode="json", exclude={"secret_hash"}), "valid": key.valid(now)}


def table(keys: Iterable[ApiKey], now: float) -> str:
    """In columns, the oldest first; times in UTC."""
    rows: list[Sequence[str]] = [COLUMNS]
    for key in sorted(keys, key=lambda key: (key.created_at, key.id)):
        limit = "" if key.rate_limit is None else str(key.rate_limit)
        row = (key.id, key.name, key.role.value, status(key, now), time_text(key.created_at), key.created_by)
        rows.append((*row, "never" if key.expires_at is None else time_text(key.expires_at), limit))
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def time_text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
