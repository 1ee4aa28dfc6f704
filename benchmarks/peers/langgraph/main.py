# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""LangGraph: a graph a workload, in this one process, with one of its checkpointers."""

import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator

import uvloop
from graphs import State, chain_of, fan_of
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from line_protocol import Conversation, Workload, converse, expect, in_lanes
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from workers import Workers

POOL = 20
_SCHEMA = "peer_langgraph"
_PACKAGES = ("langgraph", "langgraph-checkpoint", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres")
KEPT = {
    "memory": "InMemorySaver, a new one each round: nothing outlives the process",
    "sqlite": "AsyncSqliteSaver on a file (WAL, as it sets it; SQLite's default synchronous=FULL)",
    "postgres": f"AsyncPostgresSaver on a pool of {POOL} connections, autocommit, as its documentation has it",
}


async def main(variant: str) -> None:
    """``variant`` is a checkpointer, and after a hyphen LangGraph's durability if it is not its default, ``async``."""
    kind, _, durability = variant.partition("-")
    durability = durability or "async"
    with Workers() as workers:
        conversation = Conversation(workers)
        async with checkpointer_of(kind) as checkpointer:

            async def run(workload: Workload, latencies: list[float]) -> None:
                build = chain_of if workload.shape == "chain" else fan_of
                graph = build(workload.steps).compile(
                    checkpointer=InMemorySaver() if checkpointer is None else checkpointer
                )

                async def run_one(workload: Workload, number: int) -> None:
                    text = workload.text(number)
                    config = {
                        "configurable": {"thread_id": str(uuid.uuid4())},
                        "recursion_limit": workload.steps + 5,
                    }
                    state: State = await graph.ainvoke({"text": text, "done": 0}, config, durability=durability)
                    expect(f"state of workflow {number}", state, {"text": text, "done": workload.steps})

                await in_lanes(workload, latencies, run_one)

            conversation.ready(
                [*_PACKAGES, "uvloop"],
                checkpointer=KEPT[kind],
                durability=durability + (" (default)" if durability == "async" else ""),
                processes="1 process, asyncio, uvloop",
                mapping="a node a step for chains; Send for the members of fans",
            )
            await converse(conversation, run)


@contextlib.asynccontextmanager
async def checkpointer_of(kind: str) -> AsyncIterator[BaseCheckpointSaver | None]:
    """None for the one in memory, of which every round has its own."""
    if kind == "memory":
        yield None
    elif kind == "sqlite":
        path = os.path.join(os.environ["SCRATCH"], "checkpoints.sqlite")
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            await saver.setup()
            yield saver
    elif kind == "postgres":
        async with schema_of_its_own(), pool() as connections:
            saver = AsyncPostgresSaver(connections)
            await saver.setup()
            yield saver
    else:
        raise ValueError(f"checkpointer {kind!r} is none of {', '.join(KEPT)}")


def pool() -> AsyncConnectionPool:
    settings = {
        "autocommit": True,
        "prepare_threshold": 0,
        "row_factory": dict_row,
        "options": f"-c search_path={_SCHEMA}",
    }
    return AsyncConnectionPool(os.environ["POSTGRESQL_URL"], min_size=POOL, max_size=POOL, kwargs=settings, open=False)


@contextlib.asynccontextmanager
async def schema_of_its_own() -> AsyncIterator[None]:
    """So that its tables meet nobody else's, and are gone afterwards."""
    async with await AsyncConnection.connect(os.environ["POSTGRESQL_URL"], autocommit=True) as connection:
        await connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
        await connection.execute(f"CREATE SCHEMA {_SCHEMA}")
        yield
        await connection.execute(f"DROP SCHEMA {_SCHEMA} CASCADE")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
