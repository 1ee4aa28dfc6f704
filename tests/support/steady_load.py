"""Executions started at a steady pace from two sides, through the API and straight onto the broker, whatever is
stopped and started meanwhile."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import httpx

from contracts.execution import StartExecution
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.service import Outbox
from tests.support.api_access import HEADERS
from tests.support.cluster import PATIENCE, Cluster
from tests.support.sending import send_until_taken

ROWS = [
    {"name": "a", "cost": 3, "speed": 9},
    {"name": "b", "cost": 1, "speed": 5},
    {"name": "c", "cost": 7, "speed": 8},
]
CRITERIA = [{"name": "cost", "direction": "cost", "weight": 1}, {"name": "speed", "direction": "benefit", "weight": 1}]


def journey(key: str) -> dict[str, Any]:
    """One step of every agent type; the worker's writes ``key`` into its ledger."""
    decision = {"data": "data.output", "method": "weighted_sum", "criteria": CRITERIA}
    items = {"work": "work.output", "decide": "decide.output"}
    return {
        "name": "journey",
        "steps": [
            {"id": "data", "agent_type": "data_agent", "action": "process_data", "inputs": {"data_source": ROWS}},
            {
                "id": "work",
                "agent_type": "worker",
                "action": "work",
                "inputs": {"key": key, "milliseconds": 20, "after": "data.output"},
            },
            {"id": "decide", "agent_type": "decision_agent", "action": "make_decision", "inputs": decision},
            {
                "id": "gather",
                "agent_type": "coordinator_agent",
                "action": "aggregate",
                "inputs": {"items": items, "strategy": "list"},
            },
        ],
    }


class SteadyLoad:
    """Both sides say each start again until it is taken, under the same key or id.

    ``started`` are the executions that were taken, by the key that their worker's step writes; a start is taken once
    the API has answered 202, or the broker has confirmed it.
    """

    def __init__(self, cluster: Cluster, rabbit_url: str, name: str, *, pause: float) -> None:
        self.started: dict[str, str] = {}
        self.asked_again = 0
        self._cluster = cluster
        self._rabbit_url = rabbit_url
        self._name = name
        self._pause = pause
        self._over = threading.Event()

    def over(self) -> None:
        self._over.set()

    def through_the_api(self) -> None:
        # A connection of its own for each: one that is kept may be closed under a request by an edge that ends.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(timeout=30, headers=HEADERS, limits=limits) as client:
            number = 0
            while not self._over.wait(self._pause):
                key = f"{self._name}/api/{number}"
                self.started[key] = self._post(client, key)
                number += 1

    def onto_the_broker(self) -> None:
        asyncio.run(self._publish_on())

    def _post(self, client: httpx.Client, key: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = client.post(
                    f"{self._cluster.url}/executions",
                    json={"definition": journey(key), "inputs": {}},
                    headers={"Idempotency-Key": key},
                )
                if answer.status_code == 202:
                    return str(answer.json()["execution_id"])
                assert answer.status_code == 503, answer.text
                said = answer.text
            except httpx.TransportError as error:
                said = repr(error)
            assert time.monotonic() < deadline, f"{key} was never taken: {said}"
            self.asked_again += 1
            time.sleep(0.1)

    async def _publish_on(self) -> None:
        bus = RabbitBus(self._rabbit_url)
        await bus.start()
        outbox = Outbox(bus, "steady-load")
        number = 0
        while not self._over.is_set():
            key = f"{self._name}/broker/{number}"
            start = StartExecution(execution_id=f"exec-{key.replace('/', '-')}", definition=journey(key), inputs={})
            self.asked_again += await send_until_taken(outbox, start, PATIENCE)
            self.started[key] = start.execution_id
            number += 1
            await asyncio.sleep(self._pause)
        await bus.close()


@contextmanager
def steady_load(cluster: Cluster, rabbit_url: str, name: str, *, pause: float = 0.2) -> Iterator[SteadyLoad]:
    """The load while the block runs; a side of it that fails fails the test. ``pause``: seconds between two starts of
    one side."""
    load = SteadyLoad(cluster, rabbit_url, name, pause=pause)
    sides: list[Future[None]] = []
    for side in (load.through_the_api, load.onto_the_broker):
        done: Future[None] = Future()
        threading.Thread(target=_run, args=(side, done), daemon=True).start()
        sides.append(done)
    try:
        yield load
    finally:
        load.over()
        for done in sides:
            done.result(timeout=PATIENCE)


def _run(side: Any, done: "Future[None]") -> None:
    try:
        side()
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(None)
