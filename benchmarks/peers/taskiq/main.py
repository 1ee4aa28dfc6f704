# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""Taskiq's client: pipelines of taskiq-pipelines for chains; fans are sent and awaited by the client."""

import asyncio
import os
import sys
from typing import Any

import uvloop
from line_protocol import Conversation, Workload, converse, expect, in_lanes
from workers import Workers

WORKERS = 2
_PATIENCE = 120.0
# A result is polled for: this many looks a second in all, however many workflows wait.
_LOOKS_PER_SECOND = 1000


async def main(variant: str) -> None:
    os.environ["QUEUE"] = f"taskiq.{os.getpid()}"
    from tasks import NAME, PREFETCH, broker  # reads the environment

    with Workers() as workers:
        conversation = Conversation(workers)
        await broker.startup()
        command = ["-m", "taskiq", "worker", "tasks:broker", "--workers", str(WORKERS), "--log-level", "WARNING"]
        workers.start([sys.executable, *command])
        await run_one(Workload("ready", "chain", steps=1, workflows=1, in_flight=1, payload=1), 0)
        conversation.ready(
            ["taskiq", "taskiq-aio-pika", "taskiq-redis", "taskiq-pipelines", "uvloop"],
            queues="classic, durable",
            messages="persistent JSON (taskiq-aio-pika's default)",
            publishing="publisher confirms (aio-pika's default)",
            acks=f"when the result is saved (default); prefetch {PREFETCH}",
            processes=f"1 client, {WORKERS} worker processes (default), uvloop",
            results=f"Redis; the client looks for them, {_LOOKS_PER_SECOND} times a second in all",
            mapping=f"taskiq-{variant} for chains; fans are sent and awaited by the client",
        )

        async def run(workload: Workload, latencies: list[float]) -> None:
            await in_lanes(workload, latencies, run_one)

        await converse(conversation, run)
        workers.stop()
        assert broker.write_channel is not None
        for name in (NAME, f"{NAME}.dead_letter"):
            await broker.write_channel.queue_delete(name)
        await broker.write_channel.exchange_delete(NAME)
        await broker.shutdown()


async def run_one(workload: Workload, number: int) -> None:
    interval = workload.in_flight / _LOOKS_PER_SECOND
    text = workload.text(number)
    done = await (run_chain if workload.shape == "chain" else run_fan)(workload, text, interval)
    expect(f"result of workflow {number}", done, {"done": workload.steps, "text": text})


async def run_chain(workload: Workload, text: str, interval: float) -> object:
    from taskiq_pipelines import Pipeline
    from tasks import broker, echo

    pipeline = Pipeline(broker, echo)
    for _ in range(workload.steps - 1):
        pipeline = pipeline.call_next(echo)
    task = await pipeline.kiq({"done": 0, "text": text})
    return await value_of(task, interval)


async def run_fan(workload: Workload, text: str, interval: float) -> object:
    from tasks import echo

    first = await value_of(await echo.kiq({"done": 0, "text": text}), interval)
    members = await asyncio.gather(*(echo.kiq(first) for _ in range(workload.width)))
    # One after the other: most are there when their turn comes, and one look is enough.
    results = [await value_of(member, interval) for member in members]
    done = sum(result["done"] - 1 for result in results) + 1
    return await value_of(await echo.kiq({"done": done, "text": text}), interval)


async def value_of(task: Any, interval: float) -> Any:
    result = await task.wait_result(check_interval=interval, timeout=_PATIENCE)
    result.raise_for_error()
    return result.return_value


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
