"""Traces of everything in one process over the direct bus, with a real collector: each service under its own name."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from contracts.history import ExecutionStarted
from services.runtime.settings import Settings
from services.runtime.telemetry.telemetry import Telemetry, open_telemetry
from services.runtime.telemetry.trace_context import execution_span_id
from tests.support.edge_world import API, CHAIN, World, accepts, definition, edge_settings, ended, logged, step, until
from tests.support.memory_store import MemoryStore
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan
from tests.support.patience import patient_edge
from tests.support.running import Running, running, start
from tests.support.span_trees import Branch, Tree, assert_nested_in_time, tree

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CLIENT}-01"
UNSAMPLED = f"00-{TRACE}-{CLIENT}-00"

DESK = "desk_agent"


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A request that is answered with 503 leaves other spans."""
    with patient_edge():
        yield


@pytest.fixture
def receiver() -> Any:
    with OtlpReceiver() as receiver:
        yield receiver


@asynccontextmanager
async def traced_world(receiver: OtlpReceiver | None, ratio: float = 0.0) -> AsyncIterator[World]:
    """A world that traces to the receiver, of what comes without a trace this share. Its spans have all arrived after
    the block. None: it does not trace."""
    wanted = {"otlp_endpoint": receiver.endpoint if receiver else "", "trace_sample_ratio": ratio}
    settings = edge_settings().model_copy(update=wanted)
    world = World(settings, telemetry=open_telemetry(settings, "conclave"))
    try:
        await world.run_orchestrator()
        await world.run_agents()
        client = await world.run_edge()
        await until(lambda: accepts(client, CHAIN))
        yield world
    finally:
        await world.close()
        if world.telemetry.tracing is not None:
            await world.telemetry.tracing.stop()


async def executed(client: httpx.AsyncClient, wanted: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await client.post(f"{API}/executions", json={"definition": wanted, "inputs": {"x": 1}}, headers=headers)
    assert answer.status_code == 202, answer.text
    return await ended(client, answer.headers["location"])


def step_of(name: str, attempt: int = 1, failed: str = "") -> Branch:
    which = f"{name}/{attempt}{failed}"
    action: Branch = (f"{DESK} CONSUMER {DESK}.work {which}", [])
    return f"orchestrator PRODUCER step {DESK}.work {which}", [action]


def an_execution(*steps: Branch, failed: str = "") -> Tree:
    execution = (f"orchestrator CONSUMER execution{failed}", list(steps))
    return [("edge PRODUCER send execution.start", [execution])]


async def test_an_execution_started_over_rest(receiver: OtlpReceiver) -> None:
    async with traced_world(receiver) as world:
        execution = await executed(world.clients[0], CHAIN, traceparent=SAMPLED)
    spans = receiver.trace(TRACE)
    assert tree(spans, CLIENT) == [
        ("edge SERVER POST /api/v1/executions", an_execution(step_of("step1"), step_of("step2")))
    ]
    assert_nested_in_time(spans)
    assert {span.attributes.get("conclave.execution.id") for span in spans} == {None, execution["execution_id"]}
    server = next(span for span in spans if span.kind == "SERVER")
    assert server.attributes["http.request.method"] == "POST"
    assert server.attributes["http.route"] == server.attributes["url.path"] == "/api/v1/executions"
    assert server.attributes["http.response.status_code"] == 202
    assert server.attributes["conclave.correlation.id"]
    assert receiver.spans == spans  # of nothing else, where nothing else is sampled


async def test_what_fails_says_so_from_the_agent_up_and_not_to_the_request(receiver: OtlpReceiver) -> None:
    retry = {"max_attempts": 2, "backoff": 0.01, "on": ["Told"]}
    failing = {**step("a", fail=True), "retry": retry}
    async with traced_world(receiver) as world:
        await executed(world.clients[0], definition(failing, step("b", "a"), step("c")), traceparent=SAMPLED)
    spans = receiver.trace(TRACE)
    ((server, below),) = tree(spans, CLIENT)
    assert server == "edge SERVER POST /api/v1/executions"
    ((_, (execution,)),) = below
    assert execution[0] == "orchestrator CONSUMER execution !"
    assert sorted(execution[1]) == sorted([step_of("a", 1, " !"), step_of("a", 2, " !"), step_of("c")])
    assert {span.error for span in spans if span.failed} == {"Told: told to fail", "a: Told: told to fail"}
    assert {span.attributes["error.type"] for span in spans if span.failed} == {"Told"}


async def test_a_request_without_a_trace_begins_one(receiver: OtlpReceiver) -> None:
    async with traced_world(receiver, ratio=1.0) as world:
        execution = await executed(world.clients[0], CHAIN)
    (of_execution,) = [
        span
        for span in receiver.named("execution")
        if span.attributes["conclave.execution.id"] == execution["execution_id"]
    ]
    spans = receiver.trace(of_execution.trace_id)
    assert tree(spans) == [("edge SERVER POST /api/v1/executions", an_execution(step_of("step1"), step_of("step2")))]
    reads = [span for span in receiver.spans if span.name == "GET /api/v1/executions/{execution_id}"]
    assert reads
    assert of_execution.trace_id not in {span.trace_id for span in reads}  # a trace of its own each
    assert len({span.trace_id for span in reads}) == len(reads)


@pytest.mark.parametrize(("came", "ratio"), [(UNSAMPLED, 1.0), ("", 0.0)])
async def test_what_is_not_sampled_is_not_recorded_anywhere(receiver: OtlpReceiver, came: str, ratio: float) -> None:
    async with traced_world(receiver, ratio=0.0) as world:
        world.settings = world.settings.model_copy(update={"trace_sample_ratio": ratio})
        headers = {"traceparent": came} if came else {}
        execution = await executed(world.clients[0], CHAIN, **headers)
        started = await _started(world, execution["execution_id"])
    assert receiver.spans == []
    assert started.traceparent.endswith("-00")
    assert (TRACE in started.traceparent) is bool(came)


async def test_who_does_not_trace_passes_on_what_came() -> None:
    async with traced_world(None) as world:
        execution = await executed(world.clients[0], CHAIN, traceparent=SAMPLED)
        assert (await _started(world, execution["execution_id"])).traceparent == SAMPLED
        execution = await executed(world.clients[0], CHAIN)
        assert (await _started(world, execution["execution_id"])).traceparent == ""


@pytest.mark.parametrize("came", [SAMPLED.upper(), f"ff{SAMPLED[2:]}", "hello"])
async def test_a_bad_trace_is_as_if_none_had_come(receiver: OtlpReceiver, came: str) -> None:
    async with traced_world(receiver, ratio=1.0) as world:
        execution = await executed(world.clients[0], CHAIN, traceparent=came)
        assert execution["status"] == "completed"
    assert receiver.trace(TRACE) == []
    assert len(receiver.named("execution")) == 1


async def test_refusals_health_and_unknown_paths(receiver: OtlpReceiver) -> None:
    async with traced_world(receiver) as world:
        client, stranger = world.clients[0], world.stranger()
        headers = {"traceparent": SAMPLED}
        await client.get("/health", headers=headers)
        await client.get("/metrics", headers=headers)
        assert (await client.get("/no/such/path?token=abc", headers=headers)).status_code == 404
        assert (await stranger.get(f"{API}/executions/e1", headers=headers)).status_code == 401
        await client.get(f"{API}/executions/never?token=abc", headers=headers)
    found = {span.name: span for span in receiver.spans}
    assert sorted(found) == ["GET", "GET /api/v1/executions/{execution_id}"]
    assert found["GET"].attributes["http.response.status_code"] == 404
    assert not any(span.failed for span in receiver.spans)  # the client's fault is not the server's
    assert not any("abc" in str(span.attributes) for span in receiver.spans)


@pytest.mark.parametrize(("fail", "status", "failed"), [(False, 200, ""), (True, 422, " !")])
async def test_mail_is_under_the_request_that_sent_it(
    receiver: OtlpReceiver, fail: bool, status: int, failed: str
) -> None:
    content = {"payload": {"action": "work", "inputs": {"fail": fail}}}
    async with traced_world(receiver) as world:
        url, headers = f"{API}/agents/{DESK}/message?wait=true", {"traceparent": SAMPLED}
        answer = await world.clients[0].post(url, json=content, headers=headers)
    assert answer.status_code == status, answer.text
    route = "edge SERVER POST /api/v1/agents/{agent_id}/message"
    mail: Branch = ("edge PRODUCER send agent.mail", [(f"{DESK} CONSUMER process agent.mail{failed}", [])])
    assert tree(receiver.trace(TRACE), CLIENT) == [(route, [mail])]
    (process,) = receiver.named("process agent.mail")
    assert process.attributes["conclave.agent.id"] == DESK
    assert process.error == ("Told: told to fail" if fail else "")


async def _started(world: World, execution_id: str) -> ExecutionStarted:
    (first, *_) = (await logged(world, execution_id))[0].events
    assert isinstance(first, ExecutionStarted)
    return first


# ---- straight from the broker, and executions that agents start


@asynccontextmanager
async def traced_system(receiver: OtlpReceiver, ratio: float = 0.0) -> AsyncIterator[Running]:
    wanted = {"otlp_endpoint": receiver.endpoint, "trace_sample_ratio": ratio, "communication_protocol": "direct"}
    settings = Settings.model_validate({**wanted, "shutdown_timeout": 2.0})
    telemetry: Telemetry = open_telemetry(settings, "conclave")
    try:
        async with running(MemoryStore(), settings, telemetry=telemetry) as system:
            yield system
    finally:
        assert telemetry.tracing is not None
        await telemetry.tracing.stop()


def coordinating(action: str, **inputs: Any) -> dict[str, Any]:
    return {"id": action, "agent_type": "coordinator_agent", "action": action, "inputs": inputs}


AGGREGATED = coordinating("aggregate", items={"a": 1}, strategy="list")


async def test_a_start_straight_from_the_broker_is_a_root(receiver: OtlpReceiver) -> None:
    async with traced_system(receiver, ratio=1.0) as system:
        command = start(definition(AGGREGATED))
        await system.ask(command)
        assert await system.ended(command.execution_id) == "completed"
    assert tree(receiver.spans) == [
        (
            "orchestrator CONSUMER execution",
            [
                (
                    "orchestrator PRODUCER step coordinator_agent.aggregate aggregate/1",
                    [("coordinator_agent CONSUMER coordinator_agent.aggregate aggregate/1", [])],
                )
            ],
        )
    ]
    (execution,) = receiver.named("execution")
    assert execution.span_id == execution_span_id(command.execution_id)


async def test_a_delegated_execution_is_under_the_agent_that_started_it(receiver: OtlpReceiver) -> None:
    inner = definition(AGGREGATED, name="inner")
    async with traced_system(receiver) as system:
        command = start(definition(coordinating("delegate", definition=inner), name="outer"))
        await system.ask(command, traceparent=SAMPLED)
        assert await system.ended(command.execution_id) == "completed"
    spans = receiver.trace(TRACE)
    agent = "coordinator_agent"
    child: Branch = (
        "orchestrator CONSUMER execution",
        [
            (
                f"orchestrator PRODUCER step {agent}.aggregate aggregate/1",
                [(f"{agent} CONSUMER {agent}.aggregate aggregate/1", [])],
            )
        ],
    )
    sent = (f"{agent} PRODUCER send execution.start", [child])
    assert tree(spans, CLIENT) == [
        (
            "orchestrator CONSUMER execution",
            [
                (
                    f"orchestrator PRODUCER step {agent}.delegate delegate/1",
                    [(f"{agent} CONSUMER {agent}.delegate delegate/1", [sent])],
                )
            ],
        )
    ]
    names = {span.attributes["conclave.workflow.name"] for span in spans if span.name == "execution"}
    assert names == {"outer", "inner"}
    assert _all_in_time(spans)


def _all_in_time(spans: list[ReceivedSpan]) -> bool:
    assert_nested_in_time(spans)
    return True
