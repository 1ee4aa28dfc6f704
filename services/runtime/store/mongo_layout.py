"""Which collections and indexes the MongoDB store has, and how they come to be.

Every index is paid for by each write to its collection, so there are few. The log has none but ``_id``: its entries
are found by id, since their numbers are dense.
"""

from typing import Any

import structlog
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure

from contracts.history import ExecutionStatus
from services.runtime.store.audit_documents import INDEXED
from services.runtime.store.base import StoreError, StoreUnavailable
from services.runtime.store.mongo_errors import translated

_LATEST_FIRST = [("started_at", DESCENDING), ("_id", DESCENDING)]
_LATEST_DEAD_FIRST = [("died_at", DESCENDING), ("_id", DESCENDING)]
_EXISTS = 48

INDEXES: dict[str, list[IndexModel]] = {
    "log": [],
    "payloads": [],
    "definitions": [],
    "headers": [
        # Lists of one status, lists of all (as a merge of the four), and, backwards, what has not ended.
        IndexModel([("status", ASCENDING), *_LATEST_FIRST], name="status_started"),
        IndexModel([("workflow_name", ASCENDING), *_LATEST_FIRST], name="workflow_name_started"),
        # Only executions of stored workflows have a workflow id. Every planner knows an id to be greater than nothing;
        # not every one knows it to exist.
        IndexModel(
            [("workflow_id", ASCENDING), *_LATEST_FIRST],
            name="workflow_id_started",
            partialFilterExpression={"workflow_id": {"$gt": ""}},
        ),
        # Timers: only what runs is in it, so it stays small however many executions have ended.
        IndexModel(
            [("wake_at", ASCENDING)],
            name="due",
            partialFilterExpression={"status": ExecutionStatus.RUNNING.value},
        ),
    ],
    "workflows": [
        IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)], name="created"),
        IndexModel([("name", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="name_created"),
    ],
    "hosts": [],
    "agents": [
        IndexModel([("agent_type", ASCENDING), ("_id", ASCENDING)], name="type"),
        IndexModel([("capabilities", ASCENDING), ("_id", ASCENDING)], name="capability"),
        IndexModel([("status", ASCENDING), ("_id", ASCENDING)], name="status"),
        IndexModel([("default", ASCENDING)], name="default"),
    ],
    "dead_letters": [
        IndexModel(_LATEST_DEAD_FIRST, name="died"),
        IndexModel([("reason", ASCENDING), *_LATEST_DEAD_FIRST], name="reason_died"),
        IndexModel([("type", ASCENDING), *_LATEST_DEAD_FIRST], name="type_died"),
        IndexModel([("queue", ASCENDING), *_LATEST_DEAD_FIRST], name="queue_died"),
    ],
    "claims": [],
    "api_keys": [],
    "audit": [
        # The embedded store reads the whole collection for a range of ids, and for one of numbers only that range.
        IndexModel([("n", DESCENDING)], name="number"),
        IndexModel([("record_id", ASCENDING)], name="record"),
        # What few entries have. Anything else is found by going back through the log.
        *(IndexModel([(name, ASCENDING), ("n", DESCENDING)], name=name) for name in INDEXED),
    ],
    "audit_checkpoints": [],
}

_log = structlog.get_logger(__name__)


class Layout:
    """Makes the collections of a database and their indexes.

    Nothing may be written before, because the embedded store (SecantusDB 0.7.0b3) hangs for good when a first insert
    and the making of an index both create one collection.

    ``fault`` is what kept an index from being made, where that was not the store's absence.
    """

    def __init__(self, database: Any) -> None:
        self.fault: StoreError | None = None
        self._db = database

    async def make(self) -> None:
        """Make what is not there.

        Raises:
            StoreUnavailable: the store is away.
            StoreError: a collection cannot be made.
        """
        for name in INDEXES:
            await self._create(name)
        await self._remove_old_announcements()
        for name, indexes in INDEXES.items():
            if indexes:
                await self._index(name, indexes)

    async def _remove_old_announcements(self) -> None:
        """What hosts announced stood in ``agents`` before it had a collection of its own; they announce it again."""
        with translated("remove old announcements from agents"):
            await self._db["agents"].delete_many({"announced": {"$exists": True}})

    async def _create(self, name: str) -> None:
        with translated(f"create {name}"):
            try:
                await self._db.command("create", name)
            except OperationFailure as error:
                if error.code != _EXISTS:
                    raise

    async def _index(self, name: str, indexes: list[IndexModel]) -> None:
        try:
            with translated(f"create the indexes of {name}"):
                await self._db[name].create_indexes(indexes)
        except StoreUnavailable:
            raise
        except StoreError as error:
            _log.error("indexes_not_made", error=str(error))
            self.fault = error
