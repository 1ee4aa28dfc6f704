# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""Celery's client: chains, and chords for the fans. It starts them and is told by Redis when they are done."""

import os
import sys
import time
from typing import Any

from line_protocol import Conversation, Workload, expect
from workers import Workers

CONCURRENCY = 2
WORKER = ("--pool", "prefork", "--concurrency", str(CONCURRENCY), "--loglevel", "WARNING")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
_PATIENCE = 120.0


def main(variant: str) -> None:
    os.environ.update(VARIANT=variant, QUEUE=f"celery.{os.getpid()}")
    from tasks import app, echo  # reads the environment

    with Workers() as workers:
        conversation = Conversation(workers)
        workers.start([sys.executable, "-m", "celery", "--app", "tasks", "worker", *WORKER, *QUIET])
        echo.delay({"done": 0, "text": ""}).get(timeout=60)
        conversation.ready(
            ["celery", "kombu", "redis"],
            queues="classic, durable (Celery's default)",
            messages="persistent JSON (Celery's default)",
            **settings(variant),
            processes=f"1 client, 1 worker with {CONCURRENCY} prefork children; prefetch multiplier 4 (default)",
            results="Redis",
            mapping="chain for chains; chain of a task and a chord for fans",
        )
        while (workload := conversation.workload()) is not None:
            latencies: list[float] = []
            with conversation.measured(latencies):
                Client(app, workload, latencies).run()
        workers.stop()
        with app.connection_for_write() as connection:
            connection.default_channel.queue_delete(os.environ["QUEUE"])
            connection.default_channel.exchange_delete(os.environ["QUEUE"])


def settings(variant: str) -> dict[str, str]:
    if variant == "durable":
        return {
            "publishing": "confirm_publish=True",
            "acks": "task_acks_late, task_reject_on_worker_lost",
        }
    return {"publishing": "no confirms (default)", "acks": "before the task runs (default)"}


class Client:
    """Keeps ``in_flight`` workflows going from one thread: each that ends lets the next one start."""

    def __init__(self, app: Any, workload: Workload, latencies: list[float]) -> None:
        self._consumer = app.backend.result_consumer
        self._workload = workload
        self._latencies = latencies
        self._began: dict[str, tuple[int, float]] = {}
        self._results: dict[str, Any] = {}
        self._next = 0
        self._wrong: list[str] = []

    def run(self) -> None:
        last = time.monotonic()
        self._fill()
        while self._results:
            before = len(self._latencies)
            self._consumer.drain_events(timeout=1)
            self._fill()
            if len(self._latencies) > before:
                last = time.monotonic()
            elif time.monotonic() - last > 1:
                # A result that came before its subscription did is not announced again: look.
                for result in list(self._results.values()):
                    result.ready()
            if time.monotonic() - last > _PATIENCE:
                raise RuntimeError(f"{len(self._results)} workflows did not finish: nothing in {_PATIENCE:.0f} s")
            expect("wrong results", self._wrong, [])
        expect("workflows finished", len(self._latencies), self._workload.workflows)

    def _fill(self) -> None:
        while len(self._results) < self._workload.in_flight and self._next < self._workload.workflows:
            began = time.perf_counter()
            result = signature(self._workload, self._next).apply_async()
            self._began[result.id] = (self._next, began)
            self._results[result.id] = result
            self._next += 1
            result.then(self._on_ready)

    def _on_ready(self, result: Any) -> None:
        number, began = self._began.pop(result.id)
        del self._results[result.id]
        self._latencies.append((time.perf_counter() - began) * 1000)
        wanted = {"done": self._workload.steps, "text": self._workload.text(number)}
        if result.state != "SUCCESS" or result.result != wanted:
            # Not raised: it would end in Celery's promise.
            self._wrong.append(f"workflow {number}: {result.state} {str(result.result)[:100]}")


def signature(workload: Workload, number: int) -> Any:
    from celery import chain, group
    from tasks import echo, join

    first = echo.s({"done": 0, "text": workload.text(number)})
    if workload.shape == "chain":
        return chain(first, *(echo.s() for _ in range(workload.steps - 1)))
    return chain(first, group(echo.s() for _ in range(workload.width)), join.s())


if __name__ == "__main__":
    main(sys.argv[1])
