"""The real system, as processes over a real RabbitMQ: it works, and kill -9 loses nothing."""

import time
from collections import Counter
from typing import Any

import pytest

from tests.support.cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

ROWS = [
    {"name": "a", "cost": 3, "speed": 9},
    {"name": "b", "cost": 1, "speed": 5},
    {"name": "c", "cost": 7, "speed": 8},
]


def chain(length: int) -> dict[str, Any]:
    """Each step sorts and cuts what the one before gave; the last decides."""
    steps: list[dict[str, Any]] = [
        {"id": "s0", "agent_type": "data_agent", "action": "process_data", "inputs": {"data_source": ROWS}}
    ]
    for i in range(1, length - 1):
        operations = [{"op": "sort", "by": [{"column": "cost", "descending": i % 2 == 0}]}]
        steps.append(
            {
                "id": f"s{i}",
                "agent_type": "data_agent",
                "action": "process_data",
                "inputs": {"data_source": f"s{i - 1}.output", "operations": operations},
            }
        )
    inputs = {"data": f"s{length - 2}.output", "method": "weighted_sum", "criteria": CRITERIA}
    last = {"id": f"s{length - 1}", "agent_type": "decision_agent", "action": "make_decision", "inputs": inputs}
    return {"name": f"chain of {length}", "steps": [*steps, last]}


CRITERIA = [{"name": "cost", "direction": "cost", "weight": 1}, {"name": "speed", "direction": "benefit", "weight": 1}]


def fan(width: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {
            "id": f"p{i}",
            "agent_type": "data_agent",
            "action": "process_data",
            "inputs": {"data_source": [{"name": f"n{i}", "value": i}]},
        }
        for i in range(width)
    ]
    items = {step["id"]: f"{step['id']}.output" for step in steps}
    join = {"id": "join", "agent_type": "coordinator_agent", "action": "aggregate"}
    return {"name": f"fan of {width}", "steps": [*steps, {**join, "inputs": {"items": items, "strategy": "list"}}]}


def workers(name: str, count: int, **inputs: Any) -> dict[str, Any]:
    """Parallel pairs of worker steps, the second of each after the first."""
    steps = []
    for i in range(count):
        first = {"id": f"a{i}", "inputs": {"key": f"{name}/a{i}", **inputs}}
        second = {"id": f"b{i}", "inputs": {"key": f"{name}/b{i}", "after": f"a{i}.output.key", **inputs}}
        steps += [{"agent_type": "worker", "action": "work", **step} for step in (first, second)]
    return {"name": name, "steps": steps}


def outcome(execution: dict[str, Any]) -> Any:
    """What must be the same whatever carried the messages."""
    steps = {step_id: (step["status"], step["output"]) for step_id, step in execution["steps"].items()}
    return execution["status"], steps


def recorded(cluster: Cluster, execution_id: str) -> Counter[str]:
    events = cluster.history(execution_id)
    return Counter(event["step"] for event in events if event["kind"] == "step_succeeded")


def test_the_same_results_over_rabbitmq_and_direct(cluster: Cluster, one_process: Cluster) -> None:
    cluster.start("orchestrator", "registry", "data_agent", "decision_agent", "coordinator_agent", "edge")
    one_process.start("all")
    outcomes: list[list[Any]] = []
    for system in (cluster, one_process):
        system.wait_until_ready("data_agent", "decision_agent", "coordinator_agent")
        started = [system.start_execution(chain(10)), system.start_execution(fan(200))]
        ended = system.wait_until_ended(started)
        assert [execution["status"] for execution in ended] == ["completed", "completed"], ended
        assert all(count == 1 for one in started for count in recorded(system, one).values())
        outcomes.append([outcome(execution) for execution in ended])
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("victim", ["orchestrator", "worker"])
def test_kill_9_half_way_through_200_executions(cluster: Cluster, victim: str) -> None:
    cluster.start("orchestrator", "registry", "edge", "worker", "worker#2")
    cluster.wait_until_ready("worker")
    started = [cluster.start_execution(workers(f"e{i}", 2, milliseconds=20)) for i in range(200)]
    _wait_for_lines(cluster, 300)
    cluster.kill(victim)
    time.sleep(0.5)
    cluster.start(victim)
    ended = cluster.wait_until_ended(started)
    assert Counter(execution["status"] for execution in ended) == {"completed": 200}
    for execution_id in started:
        assert recorded(cluster, execution_id) == dict.fromkeys(["a0", "b0", "a1", "b1"], 1)
    lines = cluster.ledger.read_text().splitlines()
    assert {line for line in lines if line != "probe"} == {
        f"e{i}/{s}" for i in range(200) for s in ("a0", "b0", "a1", "b1")
    }


def test_agent_failure_recovery(cluster: Cluster) -> None:
    """A step that kills every process it runs in fails by name, and nobody beside it does."""
    cluster.start("orchestrator", "registry", "edge", "worker")
    cluster.wait_until_ready("worker")
    deadly = {
        "name": "deadly",
        "steps": [{"id": "die", "agent_type": "worker", "action": "work", "inputs": {"key": "die", "die": True}}],
    }
    started = [cluster.start_execution(deadly), cluster.start_execution(workers("innocent", 20, milliseconds=200))]
    cluster.keep_alive("worker", started)
    died, innocent = cluster.wait_until_ended(started)
    assert (died["status"], died["steps"]["die"]["error"]["type"]) == ("failed", "AgentCrashed")
    assert innocent["status"] == "completed"


def test_retries_over_the_bus(cluster: Cluster) -> None:
    cluster.start("orchestrator", "registry", "edge", "worker")
    cluster.wait_until_ready("worker")
    retry = {"max_attempts": 3, "backoff": 0.1, "on": ["ToldToFail"]}
    step = {"id": "s", "agent_type": "worker", "action": "work", "retry": retry}
    definition = {"name": "retried", "steps": [{**step, "inputs": {"key": "retried", "fail_times": 2}}]}
    (ended,) = cluster.wait_until_ended([cluster.start_execution(definition)])
    assert (ended["status"], ended["steps"]["s"]["attempts"]) == ("completed", 3)


def test_direct_takes_up_what_was_running_when_the_process_was_killed(one_process: Cluster) -> None:
    one_process.start("all")
    one_process.wait_until_ready("data_agent")
    started = [one_process.start_execution(fan(200)) for _ in range(5)]
    one_process.kill("all")
    one_process.start("all")
    one_process.wait_until_ready("data_agent")
    ended = one_process.wait_until_ended(started)
    assert [execution["status"] for execution in ended] == ["completed"] * 5
    assert all(count == 1 for one in started for count in recorded(one_process, one).values())


def test_graceful_shutdown(cluster: Cluster) -> None:
    """SIGTERM lets work in hand end: nothing runs twice, every process ends with 0."""
    names = ["orchestrator", "registry", "edge", "worker"]
    cluster.start(*names)
    cluster.wait_until_ready("worker")
    started = [cluster.start_execution(workers(f"g{i}", 2, milliseconds=50)) for i in range(20)]
    _wait_for_lines(cluster, 20)
    assert cluster.terminate("worker") == 0
    cluster.start("worker")
    assert cluster.terminate("orchestrator") == 0
    cluster.start("orchestrator")
    ended = cluster.wait_until_ended(started)
    assert Counter(execution["status"] for execution in ended) == {"completed": 20}
    lines = Counter(line for line in cluster.ledger.read_text().splitlines() if line != "probe")
    keys = [f"g{i}/{step}" for i in range(20) for step in ("a0", "b0", "a1", "b1")]
    cluster.check_that_each_was_done(keys, lines)
    cluster.wait_until_started(*names)
    assert [cluster.terminate(name) for name in names] == [0, 0, 0, 0]


def _wait_for_lines(cluster: Cluster, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(cluster.ledger.read_text().splitlines()) < count:
        assert time.monotonic() < deadline, "the workers do nothing"
        time.sleep(0.02)
