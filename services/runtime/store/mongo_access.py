"""API keys in MongoDB, and what can be taken once."""

from contracts.access import ApiKey
from services.runtime.store import documents
from services.runtime.store.base import Page
from services.runtime.store.mongo_collections import MongoPart


class MongoAccess(MongoPart):
    async def claim(self, name: str) -> bool:
        return not await self._stored.insert("claims", [{"_id": name}])

    async def add_api_key(self, key: ApiKey) -> bool:
        return not await self._stored.insert("api_keys", [documents.api_key_document(key)])

    async def write_api_key(self, key: ApiKey) -> bool:
        return await self._stored.overwrite("api_keys", documents.api_key_document(key))

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        row = await self._stored.get("api_keys", key_id)
        return None if row is None else documents.api_key_of(row)

    async def list_api_keys(self, page: Page) -> tuple[list[ApiKey], str | None]:
        rows, cursor = await self._stored.page_by_id("api_keys", {}, page, kind="API keys")
        return [documents.api_key_of(row) for row in rows], cursor
