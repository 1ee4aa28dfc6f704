"""What the PostgreSQL store says to its database, and how text goes into its columns."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from services.runtime.store.base import Page
from services.runtime.store.cursor import decode_cursor

R = TypeVar("R")

# Far below the 1 GB that a message may have, and no strain for either side; of a usual commit nothing is left over.
_MAX_PART_BYTES = 32 * 1024 * 1024
_MAX_INDEXED = 300  # characters, of 4 bytes at most

APPEND = """
INSERT INTO log (execution_id, n, entry)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bytea[])
ON CONFLICT DO NOTHING RETURNING execution_id, n
"""
READ_LOG = """
SELECT log.execution_id, log.n, log.entry
FROM unnest($1::text[], $2::integer[]) AS wanted (execution_id, n)
JOIN log ON log.execution_id = wanted.execution_id AND log.n > wanted.n
"""
PUT_PAYLOADS = """
INSERT INTO payloads (payload_id, value) SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING
"""
GET_PAYLOADS = "SELECT payload_id, value FROM payloads WHERE payload_id = ANY ($1::text[])"

_HEADER = "execution_id, n, status, workflow_id, workflow_name, started_at, ended_at, wake_at"
WRITE_HEADERS = f"""
INSERT INTO headers ({_HEADER})
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::float8[],
                     $8::float8[])
ON CONFLICT (execution_id) DO UPDATE SET
    n = excluded.n, status = excluded.status, workflow_id = excluded.workflow_id,
    workflow_name = excluded.workflow_name, started_at = excluded.started_at, ended_at = excluded.ended_at,
    wake_at = excluded.wake_at
WHERE headers.n <= excluded.n
"""
READ_HEADERS = f"SELECT {_HEADER} FROM headers WHERE execution_id = ANY ($1::text[])"
DUE_HEADERS = f"SELECT {_HEADER} FROM headers WHERE status = 'running' AND wake_at <= $1 ORDER BY wake_at LIMIT $2"
COUNT_OPEN = "SELECT count(*) FROM (SELECT FROM headers WHERE status = 'running' LIMIT $1) AS open"

PUT_DEFINITION = "INSERT INTO definitions (definition_hash, definition) VALUES ($1, $2) ON CONFLICT DO NOTHING"
GET_DEFINITION = "SELECT definition FROM definitions WHERE definition_hash = $1"

PUT_WORKFLOW = """
INSERT INTO workflows (workflow_id, name, created_at, workflow) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING workflow_id
"""
GET_WORKFLOW = "SELECT workflow FROM workflows WHERE workflow_id = $1"
DELETE_WORKFLOW = "DELETE FROM workflows WHERE workflow_id = $1 RETURNING workflow_id"


def page_of_headers(
    match: Mapping[str, str | None],
    page: Page,
    kind: str,
    *,
    since: float | None = None,
    until: float | None = None,
    latest_first: bool = True,
) -> tuple[str, list[Any]]:
    """The statement, with its values, for a page and one row more.

    Raises:
        BadCursor: ``page.after`` is no cursor of this ``kind`` of list.
    """
    return page_of(
        f"SELECT {_HEADER} FROM headers",
        "started_at",
        "execution_id",
        match,
        page,
        kind,
        since=since,
        until=until,
        latest_first=latest_first,
    )


def page_of_workflows(name: str | None, page: Page, kind: str) -> tuple[str, list[Any]]:
    """The statement, with its values, for a page and one row more.

    Raises:
        BadCursor: ``page.after`` is no cursor of this ``kind`` of list.
    """
    select = "SELECT workflow_id, created_at, workflow FROM workflows"
    return page_of(select, "created_at", "workflow_id", {"name": name}, page, kind)


def page_of(
    select: str,
    at: str,
    key: str,
    match: Mapping[str, str | None],
    page: Page,
    kind: str,
    *,
    since: float | None = None,
    until: float | None = None,
    latest_first: bool = True,
) -> tuple[str, list[Any]]:
    """The statement, with its values, for a page and one row more of what ``select`` reads, where the columns of
    ``match`` have their values (None is any), ordered by the time in column ``at`` and then by ``key``.

    Only conditions that are asked for stand in the statement, so that each has an index that serves it.

    Raises:
        BadCursor: ``page.after`` is no cursor of this ``kind`` of list.
    """
    values: list[Any] = []

    def given(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    conditions = [f"{column} = {given(packed(value))}" for column, value in match.items() if value is not None]
    conditions += [f"{at} >= {given(since)}"] if since is not None else []
    conditions += [f"{at} < {given(until)}"] if until is not None else []
    if (last := decode_cursor(kind, page.after)) is not None:
        beyond = "<" if latest_first else ">"
        conditions.append(f"({at}, {key}) {beyond} ({given(last.at)}, {given(packed(last.id))})")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    way = "DESC" if latest_first else "ASC"
    return f"{select}{where} ORDER BY {at} {way}, {key} {way} LIMIT {given(page.limit + 1)}", values


def brief(text: str) -> str:
    """Text of any length as an index can hold it, whose rows have about 2,700 bytes: what is long ends in its digest,
    so that different texts stay different."""
    if len(text) <= _MAX_INDEXED:
        return text
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{text[:_MAX_INDEXED]}:{digest}"


def packed(text: str) -> str:
    """Text as a column can hold it: PostgreSQL's has no NUL, names of ours may."""
    if "\\" in text or "\0" in text:
        return text.replace("\\", "\\\\").replace("\0", "\\0")
    return text


def unpacked(text: str) -> str:
    if "\\" not in text:
        return text
    return "\\".join(piece.replace("\\0", "\0") for piece in text.split("\\\\"))


def in_parts(rows: Sequence[R], sizes: Sequence[int]) -> Iterator[Sequence[R]]:
    """The rows in order, in parts of which no statement is too large."""
    begun, size = 0, 0
    for i, added in enumerate(sizes):
        if i > begun and size + added > _MAX_PART_BYTES:
            yield rows[begun:i]
            begun, size = i, 0
        size += added
    if begun < len(rows):
        yield rows[begun:]
