"""The trace of an execution over RabbitMQ: real processes, a real collector, and the whole tree of spans."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest

from contracts.envelope import wrap
from contracts.execution import ExecutionCompleted, StartExecution
from contracts.topology import Exchange
from scripts.servers import Server
from services.runtime.telemetry.trace_context import attempt_span_id, execution_root, execution_span_id
from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan
from tests.support.span_trees import Branch, Tree, assert_nested_in_time, tree, without_repeats

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CLIENT}-01"
EXECUTE = "edge SERVER POST /api/v1/workflows/{workflow_id}/execute"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def traces(receiver: OtlpReceiver, ratio: float = 0.0) -> dict[str, str]:
    """The environment of a process that traces: of what comes without a trace, this share."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_TRACES_SAMPLER_ARG": str(ratio),
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds
    }


def work(step: str, *needs: str, **more: Any) -> dict[str, Any]:
    inputs = {"key": step, **more.pop("inputs", {})}
    return {"id": step, "agent_type": "worker", "action": "work", "inputs": inputs, "depends_on": list(needs), **more}


LOOK = {
    "id": "look",
    "agent_type": "data_agent",
    "action": "process_data",
    "inputs": {"data_source": [{"name": "a", "x": 1}]},
}
BRANCHED = {
    "name": "branched",
    "steps": [
        LOOK,
        work("left", "look", when="steps.look.status == 'succeeded'"),
        work("right", "look", when="steps.look.status == 'failed'"),
        work("flaky", "left", inputs={"fail_times": 1}, retry={"max_attempts": 2, "backoff": 0.05}),
        work("bad", "left", inputs={"fail_times": 99}),
        work("after_bad", "bad"),
    ],
}


def step_of(agent_type: str, action: str, step: str, attempt: int = 1, failed: str = "") -> Branch:
    which = f"{agent_type}.{action} {step}/{attempt}{failed}"
    return f"orchestrator PRODUCER step {which}", [(f"{agent_type} CONSUMER {which}", [])]


def stored(cluster: Cluster, definition: dict[str, Any]) -> str:
    """Store a workflow; returns its id."""
    answer = httpx.post(f"{cluster.url}/workflows", json=definition, headers=HEADERS, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["workflow_id"])


def executed(cluster: Cluster, workflow_id: str) -> str:
    """Start it as a client that traces; returns the execution's id."""
    url = f"{cluster.url}/workflows/{workflow_id}/execute"
    answer = httpx.post(url, json={"inputs": {}}, headers={**HEADERS, "traceparent": SAMPLED}, timeout=30)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["execution_id"])


def test_the_whole_tree_of_an_execution(cluster: Cluster, receiver: OtlpReceiver) -> None:
    names = ["orchestrator", "orchestrator#2", "registry", "data_agent", "worker", "edge"]
    cluster.start(*names, extra=traces(receiver))
    cluster.wait_until_ready("data_agent", "worker")
    execution_id = executed(cluster, stored(cluster, BRANCHED))
    (ended,) = cluster.wait_until_ended([execution_id])
    assert ended["status"] == "failed"
    # Whoever ends waits for the collector for two seconds: the request, the start, the execution, and five attempts.
    receiver.until(lambda came: len(without_repeats(came.spans)) >= 3 + 5 * 2)
    for name in names:  # what is left leaves with the process
        assert cluster.terminate(name) == 0

    spans = without_repeats(receiver.spans)
    assert {span.trace_id for span in spans} == {TRACE}
    execution = (
        "orchestrator CONSUMER execution !",
        [
            step_of("data_agent", "process_data", "look"),
            step_of("worker", "work", "left"),
            step_of("worker", "work", "bad", 1, " !"),
            step_of("worker", "work", "flaky", 1, " !"),
            step_of("worker", "work", "flaky", 2),
        ],
    )
    assert sorted_below(tree(spans, CLIENT)) == sorted_below(
        [(EXECUTE, [("edge PRODUCER send execution.start", [execution])])]
    )
    assert_nested_in_time(spans)
    _check_statuses(spans)
    _check_attributes(spans, execution_id)


def sorted_below(found: Tree) -> Tree:
    """Side by side, in the order of their names: steps that run side by side begin in any order."""
    return sorted((name, sorted_below(below)) for name, below in found)


def _check_statuses(spans: list[ReceivedSpan]) -> None:
    errors = {(span.service, span.attributes["error.type"], span.error) for span in spans if span.failed}
    assert errors == {
        ("worker", "ToldToFail", "ToldToFail: bad is to fail"),
        ("worker", "ToldToFail", "ToldToFail: flaky is to fail"),
        ("orchestrator", "ToldToFail", "ToldToFail: bad is to fail"),
        ("orchestrator", "ToldToFail", "ToldToFail: flaky is to fail"),
        ("orchestrator", "ToldToFail", "bad: ToldToFail: bad is to fail"),
    }


def _check_attributes(spans: list[ReceivedSpan], execution_id: str) -> None:
    by_name = {span.name: span for span in spans}
    server, sent, execution = (
        by_name[name] for name in ("POST /api/v1/workflows/{workflow_id}/execute", "send execution.start", "execution")
    )
    assert server.attributes["http.response.status_code"] == 202
    assert sent.attributes["messaging.system"] == "rabbitmq"
    assert sent.attributes["messaging.destination.name"] == "conclave.commands:execution.start_now"
    assert execution.attributes["conclave.workflow.name"] == "branched"
    assert execution.attributes["conclave.outcome"] == "failed"
    assert {span.attributes["conclave.execution.id"] for span in spans if span not in (server, sent)} == {execution_id}
    look = next(span for span in spans if span.service == "data_agent")
    assert look.kind_and_name == ("CONSUMER", "data_agent.process_data")
    assert (look.attributes["conclave.agent.type"], look.attributes["conclave.action"]) == (
        "data_agent",
        "process_data",
    )
    assert look.attributes["conclave.agent.id"] == "data_agent"
    instances = {(span.service, span.resource["service.instance.id"]) for span in spans}
    assert len(instances) in (4, 5)  # one a process; either orchestrator, or both, may have had to do with it
    assert {span.resource["service.namespace"] for span in spans} == {"conclave"}


def test_starts_straight_from_the_broker(cluster: Cluster, receiver: OtlpReceiver, system_rabbit: Server) -> None:
    cluster.start("orchestrator", "registry", "worker", "edge", extra=traces(receiver, ratio=1.0))
    cluster.wait_until_ready("worker")
    one_step = {"name": "one", "steps": [work("only")]}
    plain, under, unsampled, broken = (
        StartExecution(execution_id=f"straight-{i}", definition=one_step, client="tests") for i in range(4)
    )
    headers = [
        (plain, {}),
        (under, {"traceparent": SAMPLED}),
        (unsampled, {"traceparent": f"{SAMPLED[:-2]}00"}),
        (broken, {"traceparent": "not one"}),
    ]
    ids = [one.execution_id for one, _ in headers]
    heard = asyncio.run(_publish_and_hear_the_ends(system_rabbit.url, headers))
    cluster.wait_until_ended(ids)
    names = ("execution", "step worker.work", "worker.work")
    receiver.until(lambda came: all(len(came.named(name)) >= 3 for name in names))
    for name in ("orchestrator", "worker"):
        assert cluster.terminate(name) == 0

    below = [("orchestrator CONSUMER execution", [step_of("worker", "work", "only")])]
    for execution in (plain, broken):  # each is the root of its own trace
        root = execution_root(execution.execution_id, 1.0)
        assert tree(without_repeats(receiver.trace(f"{root.trace_id:032x}"))) == below
    assert tree(without_repeats(receiver.trace(TRACE)), CLIENT) == below
    # Whoever hears of the end is told under which span to go on.
    assert heard[under.execution_id] == f"00-{TRACE}-{execution_span_id(under.execution_id)}-01"
    assert heard[plain.execution_id] == execution_root(plain.execution_id, 1.0).traceparent
    assert heard[unsampled.execution_id] == f"{SAMPLED[:-2]}00"
    recorded = {span.attributes["conclave.execution.id"] for span in receiver.named("execution")}
    assert recorded == {plain.execution_id, under.execution_id, broken.execution_id}


async def _publish_and_hear_the_ends(url: str, starts: list[tuple[StartExecution, dict[str, str]]]) -> dict[str, str]:
    """Publish starts as any program could; returns the traceparent of each one's end."""
    heard: dict[str, str] = {}
    async with await aio_pika.connect(url) as connection, asyncio.timeout(60):
        channel = await connection.channel(on_return_raises=True)
        events = await channel.get_exchange(Exchange.EVENTS.value)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(events, ExecutionCompleted.TYPE.rsplit(".", 1)[0])
        commands = await channel.get_exchange(Exchange.COMMANDS.value)
        for command, headers in starts:
            envelope = wrap(command, sender="tests")
            message = aio_pika.Message(
                envelope.model_dump_json().encode(), type=command.TYPE, message_id=envelope.id, headers=dict(headers)
            )
            await commands.publish(message, routing_key=command.address().key)
        async with queue.iterator() as ends:
            async for end in ends:
                execution_id = json.loads(end.body)["payload"]["execution_id"]
                heard[execution_id] = str(end.headers.get("traceparent", ""))
                await end.ack()
                if len(heard) == len(starts):
                    return heard
    raise AssertionError("the queue ended")


def test_a_trace_goes_on_when_its_orchestrator_is_killed(
    cluster: Cluster, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    cluster.start("orchestrator", "registry", "worker", "edge", extra=traces(receiver))
    cluster.wait_until_ready("worker")
    killed = tmp_path / "killed"
    definition = {"name": "long", "steps": [work("first"), work("second", "first", inputs={"until": str(killed)})]}
    execution_id = executed(cluster, stored(cluster, definition))
    receiver.until(lambda came: any(span.span_id == attempt_span_id(execution_id, "first", 1) for span in came.spans))
    _wait_for(cluster, "second")
    cluster.kill("orchestrator")
    killed.touch()
    cluster.start("orchestrator#2", extra=traces(receiver))
    (ended,) = cluster.wait_until_ended([execution_id])
    assert ended["status"] == "completed"
    # Each delivers its own, and none waits for another: the request, the start, the execution, and two attempts. What
    # the killed one had told and not acked, the other tells again.
    receiver.until(lambda came: len(without_repeats(came.trace(TRACE))) >= 3 + 2 * 2)

    below = [step_of("worker", "work", step) for step in ("first", "second")]
    spans = without_repeats(receiver.trace(TRACE))
    assert tree(spans, CLIENT) == [
        (EXECUTE, [("edge PRODUCER send execution.start", [("orchestrator CONSUMER execution", below)])])
    ]
    assert_nested_in_time(spans)
    by_id = {span.span_id: span for span in spans}
    first, second, execution = (
        by_id[one].resource["service.instance.id"]
        for one in (
            attempt_span_id(execution_id, "first", 1),
            attempt_span_id(execution_id, "second", 1),
            execution_span_id(execution_id),
        )
    )
    assert first != second == execution


def _wait_for(cluster: Cluster, line: str) -> None:
    deadline = time.monotonic() + 60
    while line not in cluster.ledger.read_text().splitlines():
        assert time.monotonic() < deadline, "the worker does nothing"
        time.sleep(0.02)


def test_a_collector_that_is_away_costs_nothing_but_the_trace(cluster: Cluster) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    names = ["orchestrator", "registry", "worker", "edge"]
    cluster.start(*names, extra=away)
    cluster.wait_until_ready("worker")
    ids = [cluster.start_execution({"name": "one", "steps": [work(f"s{i}")]}) for i in range(20)]
    assert {one["status"] for one in cluster.wait_until_ended(ids)} == {"completed"}
    for name in names:
        began = time.monotonic()
        assert cluster.terminate(name) == 0
        assert time.monotonic() - began < 25  # two seconds for the traces; the exporter alone would take half a minute
        assert cluster.log(name).count("traces cannot be delivered") <= 1
    assert "opentelemetry" not in "".join(cluster.log(name) for name in names).lower()
