# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""Dramatiq's client: pipelines for chains, groups with a completion callback for fans."""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from line_protocol import Conversation, Workload, expect
from workers import Workers

PROCESSES, THREADS, SENDERS = 2, 8, 4
_PATIENCE_MS = 120_000


def main(variant: str) -> None:
    os.environ["QUEUE"] = f"dramatiq.{os.getpid()}"
    from tasks import QUEUE, broker  # reads the environment

    command = ["-m", "dramatiq", "tasks", "--processes", str(PROCESSES), "--threads", str(THREADS)]
    with Workers() as workers, ThreadPoolExecutor(SENDERS) as senders:
        conversation = Conversation(workers)
        workers.start([sys.executable, *command])

        def publish(what: Callable[[], Any]) -> Any:
            return senders.submit(what).result()

        run_chain(Workload("ready", "chain", steps=1, workflows=1, in_flight=1, payload=1), 0, publish)
        conversation.ready(
            ["dramatiq", "pika", "redis"],
            queues="classic, durable (Dramatiq's default)",
            messages="persistent JSON (Dramatiq's default)",
            publishing=f"confirm_delivery=True; the client has {SENDERS} threads that publish",
            acks="after the actor has run (default)",
            processes=f"1 client, {PROCESSES} worker processes with {THREADS} threads each (defaults on 2 cores)",
            results="Redis, of the last step only (variant: " + variant + ")",
            mapping="pipeline for chains; for fans a first message, then a group with GroupCallbacks on Redis",
        )
        while (workload := conversation.workload()) is not None:
            latencies: list[float] = []
            with conversation.measured(latencies):
                run(workload, latencies, publish)
        workers.stop()
        for name in (QUEUE, f"{QUEUE}.DQ", f"{QUEUE}.XQ"):
            broker.channel.queue_delete(name)
        broker.close()


def run(workload: Workload, latencies: list[float], publish: Callable[[Callable[[], Any]], Any]) -> None:
    numbers = iter(range(workload.workflows))
    run_one = run_chain if workload.shape == "chain" else run_fan

    def lane() -> None:
        for number in numbers:
            began = time.perf_counter()
            run_one(workload, number, publish)
            latencies.append((time.perf_counter() - began) * 1000)

    # A thread for each workflow in flight: waiting for a result blocks in Redis.
    with ThreadPoolExecutor(workload.in_flight) as lanes:
        for done in [lanes.submit(lane) for _ in range(workload.in_flight)]:
            done.result()


def run_chain(workload: Workload, number: int, publish: Callable[[Callable[[], Any]], Any]) -> None:
    from dramatiq import pipeline
    from tasks import echo

    start = {"done": 0, "text": workload.text(number)}
    messages = [echo.message_with_options(args=(start,) if i == 0 else ()) for i in range(workload.steps - 1)]
    last = echo.message_with_options(args=() if messages else (start,), store_results=True)
    steps = pipeline([*messages, last])
    publish(steps.run)
    result = steps.get_result(block=True, timeout=_PATIENCE_MS)
    expect(f"result of workflow {number}", result, {**start, "done": workload.steps})


def run_fan(workload: Workload, number: int, publish: Callable[[Callable[[], Any]], Any]) -> None:
    from dramatiq import group
    from tasks import broker, echo, member

    start = {"done": 0, "text": workload.text(number)}
    first = echo.message_with_options(args=(start,), store_results=True)
    publish(lambda: broker.enqueue(first))
    message = first.get_result(block=True, timeout=_PATIENCE_MS)
    join = echo.message_with_options(args=(message,), store_results=True)
    members = group([member.message(message) for _ in range(workload.width)])
    members.add_completion_callback(join)
    publish(members.run)
    result = join.get_result(block=True, timeout=_PATIENCE_MS)
    expect(f"result of workflow {number}", result, {**start, "done": 2})


if __name__ == "__main__":
    main(sys.argv[1])
