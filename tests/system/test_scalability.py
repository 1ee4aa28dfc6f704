"""Workflows of 10 to 1,000 steps over several orchestrators and hosts, as processes: all complete, every step once."""

from collections import Counter
from typing import Any

import pytest

from tests.support.cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

SIZES = (10, 30, 100, 300, 1_000)
LONGEST_CHAIN = 100


def worker(step_id: str, name: str, **inputs: Any) -> dict[str, Any]:
    inputs = {"key": f"{name}/{step_id}", **inputs}
    return {"id": step_id, "agent_type": "worker", "action": "work", "inputs": inputs}


def chain(name: str, steps: int) -> dict[str, Any]:
    first = worker("s0", name)
    rest = [worker(f"s{i}", name, after=f"s{i - 1}.output.key") for i in range(1, steps)]
    return {"name": name, "steps": [first, *rest]}


def fan(name: str, steps: int) -> dict[str, Any]:
    """One step, then all but two side by side, then one that waits for them."""
    middle = [worker(f"m{i}", name, after="first.output.key") for i in range(steps - 2)]
    last = {**worker("last", name), "depends_on": [step["id"] for step in middle]}
    return {"name": name, "steps": [worker("first", name), *middle, last]}


def layers(name: str, steps: int, width: int = 10) -> dict[str, Any]:
    """Rows of ten; each step waits for two of the row above."""
    made = []
    for i in range(steps):
        row, column = divmod(i, width)
        step = worker(f"r{row}c{column}", name)
        above = [f"r{row - 1}c{one % width}" for one in (column, column + 1)] if row else []
        made.append({**step, "depends_on": above})
    return {"name": name, "steps": made}


def dependencies(definition: dict[str, Any]) -> dict[str, set[str]]:
    """What each step waits for, as its definition says it."""
    return {
        step["id"]: {*step.get("depends_on", ()), *_referenced(step["inputs"].get("after", ""))}
        for step in definition["steps"]
    }


def _referenced(reference: str) -> set[str]:
    return {reference.partition(".")[0]} - {""}


def test_workflow_scalability(cluster: Cluster) -> None:
    hosts = [f"worker#{i}" for i in range(1, 4)]
    cluster.start("orchestrator", "orchestrator#2", "registry", "edge", *hosts)
    cluster.wait_until_ready("worker")

    definitions = [
        definition
        for size in SIZES
        for definition in (
            fan(f"fan-{size}", size),
            layers(f"layers-{size}", size),
            chain(f"chain-{min(size, LONGEST_CHAIN)}-of-{size}", min(size, LONGEST_CHAIN)),
        )
    ]
    started = [cluster.start_execution(definition) for definition in definitions]
    ended = cluster.wait_until_ended(started, patience=300)

    assert Counter(execution["status"] for execution in ended) == {"completed": len(definitions)}
    pids: set[int] = set()
    for definition, execution_id, execution in zip(definitions, started, ended, strict=True):
        steps = {step["id"] for step in definition["steps"]}
        assert {step_id: step["status"] for step_id, step in execution["steps"].items()} == dict.fromkeys(
            steps, "succeeded"
        )
        events = cluster.history(execution_id)
        succeeded = [event["step"] for event in events if event["kind"] == "step_succeeded"]
        assert Counter(succeeded) == dict.fromkeys(steps, 1), "every step's result is recorded once"
        _no_step_before_its_dependencies(definition, events)
        pids |= {step["output"]["pid"] for step in execution["steps"].values()}

    lines = Counter(line for line in cluster.ledger.read_text().splitlines() if line != "probe")
    keys = [step["inputs"]["key"] for definition in definitions for step in definition["steps"]]
    cluster.check_that_each_was_done(keys, lines)
    assert len(lines) == sum(len(definition["steps"]) for definition in definitions)
    assert len(pids) == len(hosts), "every host had a share of the work"


def _no_step_before_its_dependencies(definition: dict[str, Any], events: list[dict[str, Any]]) -> None:
    waits_for = dependencies(definition)
    done: set[str] = set()
    for event in events:
        if event["kind"] == "step_dispatched":
            assert waits_for[event["step"]] <= done, f"{event['step']} was sent too early"
        elif event["kind"] == "step_succeeded":
            done.add(event["step"])
