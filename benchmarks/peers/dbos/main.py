# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""DBOS: durable workflows of steps in this one process, kept in PostgreSQL."""

import asyncio
import os
import sys

import psycopg
import uvloop
from dbos import DBOS
from line_protocol import Conversation, Workload, converse, expect, in_lanes
from step_counter import count_step
from workers import Workers

_SCHEMA = "peer_dbos"
POOL = 20


@DBOS.step()
async def echo(text: str) -> str:
    count_step()
    return text


@DBOS.workflow()
async def chain(text: str, steps: int) -> str:
    for _ in range(steps):
        text = await echo(text)
    return text


@DBOS.workflow()
async def fan(text: str, width: int) -> str:
    text = await echo(text)
    texts = await asyncio.gather(*(echo(text) for _ in range(width)))
    return await echo(texts[0])


async def run_one(workload: Workload, number: int) -> None:
    text = workload.text(number)
    if workload.shape == "chain":
        handle = await DBOS.start_workflow_async(chain, text, workload.steps)
    else:
        handle = await DBOS.start_workflow_async(fan, text, workload.width)
    expect(f"result of workflow {number}", await handle.get_result(), text)


async def main(variant: str) -> None:
    with Workers() as workers:
        conversation = Conversation(workers)
        drop_schema()
        DBOS(
            config={
                "name": "peer",
                "system_database_url": os.environ["POSTGRESQL_URL"],
                "dbos_system_schema": _SCHEMA,
                "sys_db_pool_size": POOL,
                "log_level": "WARNING",
            }
        )
        DBOS.launch()

        async def run(workload: Workload, latencies: list[float]) -> None:
            await in_lanes(workload, latencies, run_one)

        conversation.ready(
            ["dbos", "sqlalchemy", "psycopg", "uvloop"],
            state=f"PostgreSQL, pool of {POOL} connections (default): a row a workflow, a row a step",
            processes="1 process, asyncio, uvloop",
            mapping=f"a workflow of {variant}; the members of fans by asyncio.gather",
        )
        await converse(conversation, run)
        DBOS.destroy()
        drop_schema()


def drop_schema() -> None:
    """So that its tables meet nobody else's, and are gone afterwards."""
    with psycopg.connect(os.environ["POSTGRESQL_URL"], autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
