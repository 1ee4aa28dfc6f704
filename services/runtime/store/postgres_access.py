"""API keys in PostgreSQL, and what can be taken once."""

from typing import Any

from contracts.access import ApiKey
from services.runtime.store import documents
from services.runtime.store.base import Page
from services.runtime.store.cursor import Cursor, decode_cursor
from services.runtime.store.postgres_pool import PostgresPart
from services.runtime.store.postgres_statements import packed, unpacked

CLAIM = "INSERT INTO claims (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING name"
ADD_API_KEY = "INSERT INTO api_keys (key_id, key) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING key_id"
WRITE_API_KEY = "UPDATE api_keys SET key = $2 WHERE key_id = $1 RETURNING key_id"
GET_API_KEY = "SELECT key FROM api_keys WHERE key_id = $1"
LIST_API_KEYS = "SELECT key_id, key FROM api_keys ORDER BY key_id LIMIT $1"
LIST_API_KEYS_AFTER = "SELECT key_id, key FROM api_keys WHERE key_id > $2 ORDER BY key_id LIMIT $1"

_KIND = "API keys"


class PostgresAccess(PostgresPart):
    async def claim(self, name: str) -> bool:
        return bool(await self._fetch("claim", CLAIM, packed(name)))

    async def add_api_key(self, key: ApiKey) -> bool:
        return bool(await self._fetch("add an API key", ADD_API_KEY, key.id, documents.api_key_json(key)))

    async def write_api_key(self, key: ApiKey) -> bool:
        return bool(await self._fetch("write an API key", WRITE_API_KEY, key.id, documents.api_key_json(key)))

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        rows = await self._fetch("get an API key", GET_API_KEY, packed(key_id))
        return documents.api_key_of_json(key_id, rows[0][0]) if rows else None

    async def list_api_keys(self, page: Page) -> tuple[list[ApiKey], str | None]:
        last = decode_cursor(_KIND, page.after)
        asked: tuple[Any, ...] = (LIST_API_KEYS, page.limit + 1)
        if last is not None:
            asked = (LIST_API_KEYS_AFTER, page.limit + 1, packed(last.id))
        rows = await self._fetch("list API keys", *asked)
        shown = [documents.api_key_of_json(unpacked(row[0]), row[1]) for row in rows[: page.limit]]
        return shown, Cursor(_KIND, 0.0, shown[-1].id).encode() if len(rows) > len(shown) else None
