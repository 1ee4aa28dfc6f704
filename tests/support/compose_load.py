"""Executions started through a stack's API at a steady pace, whatever dies meanwhile, and counted afterwards."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.support.compose import PATIENCE, Stack, until

ROWS = [
    {"name": "a", "cost": 3, "speed": 9},
    {"name": "b", "cost": 1, "speed": 5},
    {"name": "c", "cost": 7, "speed": 8},
]
CRITERIA = [{"name": "cost", "direction": "cost", "weight": 1}, {"name": "speed", "direction": "benefit", "weight": 1}]


def journey(name: str, decisions: int = 1) -> dict[str, Any]:
    """A step of each agent type, one after the other; ``decisions`` of them side by side."""
    decide = {"data": "data.output", "method": "weighted_sum", "criteria": CRITERIA}
    choices = [f"decide_{i}" for i in range(decisions)]
    items = {choice: f"{choice}.output" for choice in choices}
    return {
        "name": name,
        "steps": [
            {"id": "data", "agent_type": "data_agent", "action": "process_data", "inputs": {"data_source": ROWS}},
            *(
                {"id": choice, "agent_type": "decision_agent", "action": "make_decision", "inputs": decide}
                for choice in choices
            ),
            {
                "id": "gather",
                "agent_type": "coordinator_agent",
                "action": "aggregate",
                "inputs": {"items": items, "strategy": "list"},
            },
        ],
    }


class Load:
    """``accepted`` are the executions that the API took, by the key under which each was asked for until it was."""

    def __init__(self, stack: Stack, name: str, pause: float) -> None:
        self.accepted: dict[str, str] = {}
        self.asked_again = 0
        self._stack = stack
        self._name = name
        self._pause = pause
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with self._stack.client() as client:
                number = 0
                while not self._over.wait(self._pause):
                    key = f"{self._name}/{number}"
                    self.accepted[key] = self._post(client, key)
                    number += 1
        except BaseException as error:
            self._error = error

    def _post(self, client: httpx.Client, key: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = client.post(
                    "/executions", json={"definition": journey(self._name)}, headers={"Idempotency-Key": key}
                )
                if answer.status_code == 202:
                    return str(answer.json()["execution_id"])
                assert answer.status_code == 503, answer.text
                said = answer.text
            except httpx.TransportError as error:
                said = repr(error)
            assert time.monotonic() < deadline, f"{key} was never taken: {said}"
            self.asked_again += 1
            time.sleep(0.2)


@contextmanager
def steady_load(stack: Stack, name: str, *, pause: float = 0.25) -> Iterator[Load]:
    """The load while the block runs. ``pause``: seconds between two starts."""
    load = Load(stack, name, pause)
    load.start()
    try:
        yield load
    finally:
        load.end()


def started(client: httpx.Client, definition: dict[str, Any]) -> str:
    """The id of an execution that is asked for until it is taken, under one key."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    answer = until(
        lambda: client.post("/executions", json={"definition": definition}, headers=key),
        lambda answer: answer.status_code != 503,
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["execution_id"])


def get(client: httpx.Client, path: str, **parameters: Any) -> dict[str, Any]:
    """The answer; a 503, which says to ask again, is asked again."""
    answer = until(lambda: client.get(path, params=parameters), lambda answer: answer.status_code != 503)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ended(client: httpx.Client, execution_id: str) -> dict[str, Any]:
    """The execution, once it has ended."""
    return dict(until(lambda: get(client, f"/executions/{execution_id}"), lambda view: view["status"] != "running"))


def outcomes(client: httpx.Client, execution_id: str) -> Counter[str]:
    """How often its log has each end: of the execution, and of each step."""
    counted: Counter[str] = Counter()
    after: int | None = 0
    while after is not None:
        page = get(client, f"/executions/{execution_id}/history", after=after)
        for event in (event for entry in page["entries"] for event in entry["events"]):
            if event["kind"] in ("execution_ended", "step_failed", "step_skipped", "step_cancelled"):
                counted[event["kind"]] += 1
            elif event["kind"] == "step_succeeded":
                counted[f"step_succeeded {event['step']}"] += 1
        after = page["next"]
    return counted


def executions_of(client: httpx.Client, workflow_name: str) -> list[str]:
    """Every execution that there is of workflows of this name."""
    found: list[str] = []
    parameters: dict[str, Any] = {"workflow_name": workflow_name, "limit": 100}
    while True:
        page = get(client, "/executions", **parameters)
        found += [item["execution_id"] for item in page["items"]]
        if page["next"] is None:
            return found
        parameters["after"] = page["next"]
