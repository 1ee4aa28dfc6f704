"""Dead letters in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from contracts.dead_letters import DeadLetter
from services.runtime.store import documents
from services.runtime.store.base import DeadLetterFilter, Page
from services.runtime.store.cursor import Cursor
from services.runtime.store.letter_pages import KIND, Place, fitting
from services.runtime.store.postgres_pool import PostgresPart
from services.runtime.store.postgres_statements import brief, packed, page_of, unpacked

PUT_DEAD_LETTER = """
INSERT INTO dead_letters (letter_id, reason, type, queue, died_at, letter) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (letter_id) DO UPDATE SET
    reason = excluded.reason, type = excluded.type, queue = excluded.queue, died_at = excluded.died_at,
    letter = excluded.letter
"""
GET_DEAD_LETTERS = "SELECT letter_id, letter FROM dead_letters WHERE letter_id = ANY ($1::text[])"
DELETE_DEAD_LETTER = "DELETE FROM dead_letters WHERE letter_id = $1 RETURNING letter_id"
COUNT_DEAD_LETTERS = "SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE died_at >= $1 LIMIT $2) AS counted"

_PLACES = "SELECT letter_id, died_at, octet_length(letter) FROM dead_letters"


class PostgresDeadLetters(PostgresPart):
    async def put_dead_letter(self, letter: DeadLetter) -> None:
        filtered = (packed(brief(text)) for text in (letter.reason, letter.type, letter.queue))
        value = documents.dead_letter_json(letter)
        await self._fetch("put a dead letter", PUT_DEAD_LETTER, packed(letter.id), *filtered, letter.died_at, value)

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        return (await self._whole([letter_id])).get(letter_id)

    async def list_dead_letters(self, filter: DeadLetterFilter, page: Page) -> tuple[list[DeadLetter], str | None]:
        statement, values = page_of_dead_letters(filter, page)
        rows = await self._fetch("list dead letters", statement, *values)
        places = [Place(unpacked(row[0]), row[1], row[2]) for row in rows[: page.limit]]
        more = len(rows) > len(places)
        ids, cursor = fitting(places, Cursor(KIND, places[-1].died_at, places[-1].letter_id).encode() if more else None)
        found = await self._whole(ids)
        return [found[key] for key in ids if key in found], cursor

    async def _whole(self, ids: Sequence[str]) -> dict[str, DeadLetter]:
        if not ids:
            return {}
        rows = await self._fetch("get dead letters", GET_DEAD_LETTERS, [packed(key) for key in ids])
        return {(key := unpacked(row[0])): documents.dead_letter_of_json(key, row[1]) for row in rows}

    async def count_dead_letters(self, limit: int, died_after: float = 0.0) -> int:
        rows = await self._fetch("count dead letters", COUNT_DEAD_LETTERS, died_after, limit)
        return int(rows[0][0])

    async def delete_dead_letter(self, letter_id: str) -> bool:
        return bool(await self._fetch("delete a dead letter", DELETE_DEAD_LETTER, packed(letter_id)))


def page_of_dead_letters(filter: DeadLetterFilter, page: Page) -> tuple[str, list[Any]]:
    """The statement, with its values, for the places and sizes of a page's letters and one more.

    Raises:
        BadCursor: ``page.after`` is no cursor of a list of dead letters.
    """
    asked = {"reason": filter.reason, "type": filter.type, "queue": filter.queue}
    match = {column: None if text is None else brief(text) for column, text in asked.items()}
    return page_of(_PLACES, "died_at", "letter_id", match, page, KIND)
