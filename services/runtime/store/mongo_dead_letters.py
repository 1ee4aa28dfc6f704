"""Dead letters in MongoDB."""

from contracts.dead_letters import DeadLetter
from services.runtime.store import documents
from services.runtime.store.base import DeadLetterFilter, Page
from services.runtime.store.letter_pages import KIND, Place, fitting
from services.runtime.store.mongo_collections import MongoPart


class MongoDeadLetters(MongoPart):
    async def put_dead_letter(self, letter: DeadLetter) -> None:
        await self._stored.write("dead_letters", documents.dead_letter_document(letter))

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        row = await self._stored.get("dead_letters", letter_id)
        return None if row is None else documents.dead_letter_of(row)

    async def list_dead_letters(self, filter: DeadLetterFilter, page: Page) -> tuple[list[DeadLetter], str | None]:
        asked = {"reason": filter.reason, "type": filter.type, "queue": filter.queue}
        match = {name: value for name, value in asked.items() if value is not None}
        rows, cursor = await self._stored.page(
            "dead_letters", match, "died_at", page, kind=KIND, fields=["died_at", "bytes"]
        )
        ids, cursor = fitting([Place(row["_id"], row["died_at"], row["bytes"]) for row in rows], cursor)
        found = await self._stored.by_ids("dead_letters", ids)
        return [documents.dead_letter_of(found[key]) for key in ids if key in found], cursor

    async def count_dead_letters(self, limit: int, died_after: float = 0.0) -> int:
        return await self._stored.count("dead_letters", {"died_at": {"$gte": died_after}}, limit)

    async def delete_dead_letter(self, letter_id: str) -> bool:
        return await self._stored.delete("dead_letters", letter_id)
