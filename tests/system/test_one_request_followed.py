"""One request, followed through the logs of every service that has to do with it: real processes over RabbitMQ."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import aio_pika
import httpx
import pytest

from contracts.topology import Exchange
from scripts.servers import Server
from tests.support.api_access import HEADERS
from tests.support.cluster import PATIENCE, Cluster, whole_lines

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

AGENTS = ("data_agent", "decision_agent", "coordinator_agent")
SERVICES = ("edge", "orchestrator", *AGENTS, "registry", "auditor", "dead_letters")
# These say at this level only what they have to do with a request.
QUIET = ("decision_agent", "registry", "auditor")
GIVEN = "order-4711/a"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PUBLISHED = "published-straight-1"

ROWS = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]
DECISION = {"data": ROWS, "method": "weighted_sum", "alternatives": "name", "criteria": [{"name": "x", "weight": 1}]}
LOOK = {"id": "look", "agent_type": "data_agent", "action": "profile", "inputs": {"data_source": ROWS}}
ASKING = {
    "question": "Which one?",
    "task": {"action": "make_decision", "inputs": DECISION, "answer": "winner"},
    "agents": {"agent_type": "decision_agent", "default_agents": True},
    "at_least": 1,
}
STEPS = [
    LOOK,
    {"id": "decide", "agent_type": "decision_agent", "action": "make_decision", "inputs": DECISION},
    {"id": "ask", "agent_type": "coordinator_agent", "action": "consensus", "inputs": ASKING},
    {
        "id": "delegate",
        "agent_type": "coordinator_agent",
        "action": "delegate",
        "inputs": {"definition": {"name": "inner", "steps": [LOOK]}, "inputs": {}},
    },
]
DEFINITION = {"name": "everyone", "steps": STEPS}

Line = dict[str, Any]


def started(cluster: Cluster, headers: dict[str, str], expected: str) -> str:
    """Start an execution; returns its id."""
    answer = httpx.post(
        f"{cluster.url}/executions",
        json={"definition": DEFINITION, "inputs": {}},
        headers={**HEADERS, **headers},
        timeout=60,
    )
    assert (answer.status_code, answer.headers["X-Correlation-ID"]) == (202, expected), answer.text
    return str(answer.json()["execution_id"])


async def publish_a_start_that_is_refused(url: str) -> None:
    """As any program may: its envelope says the correlation id, and no property of the message does."""
    payload = {"execution_id": "exec-refused", "definition": {"name": "nothing", "steps": []}, "inputs": {}}
    envelope = {
        "id": "message-1",
        "type": "execution.start.v1",
        "sender": "shop",
        "receiver": "execution.start",
        "timestamp": "2026-01-01T00:00:00Z",
        "correlation_id": PUBLISHED,
        "payload": payload,
    }
    message = aio_pika.Message(json.dumps(envelope).encode(), type="execution.start.v1", message_id="message-1")
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(Exchange.COMMANDS.value)
        await exchange.publish(message, routing_key="execution.start")


def lines_of(cluster: Cluster, service: str) -> list[Line]:
    lines = [json.loads(line) for line in whole_lines(cluster.log(service))]
    assert all(line.keys() >= {"timestamp", "level", "service", "event"} for line in lines)
    assert {line["service"] for line in lines} == {service}
    return lines


def until(cluster: Cluster, service: str, enough: Callable[[list[Line]], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not enough(lines_of(cluster, service)):
        assert time.monotonic() < deadline, cluster.log(service)[-5_000:]
        time.sleep(0.2)


def about(lines: list[Line], correlation_id: str) -> list[Line]:
    return [line for line in lines if line.get("correlation_id") == correlation_id]


def mail_about(lines: list[Line], correlation_id: str) -> list[Line]:
    return [line for line in about(lines, correlation_id) if line.get("type") == "agent.mail.v1"]


def said_of_both(lines: list[Line], event: str, times: int) -> bool:
    """Whether an event stands there so often of each of the two requests."""
    return all(sum(line["event"] == event for line in about(lines, one)) >= times for one in (GIVEN, TRACE))


def test_one_request_is_followed_through_the_logs_of_all_services(cluster: Cluster, system_rabbit: Server) -> None:
    cluster.start(*(name for name in SERVICES if name not in QUIET))
    cluster.start(*QUIET, extra={"LOG_LEVEL": "DEBUG"})
    cluster.wait_until_ready(*AGENTS)

    first = started(cluster, {"X-Correlation-ID": GIVEN}, GIVEN)
    second = started(cluster, {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE)
    asyncio.run(publish_a_start_that_is_refused(system_rabbit.url))
    ended = dict(zip((GIVEN, TRACE), cluster.wait_until_ended([first, second]), strict=True))
    assert {one["status"] for one in ended.values()} == {"completed"}, ended
    children = {one: ended[one]["steps"]["delegate"]["output"]["execution_id"] for one in ended}

    until(cluster, "auditor", lambda lines: len(about(lines, TRACE)) >= 4 and len(about(lines, GIVEN)) >= 4)
    until(cluster, "dead_letters", lambda lines: bool(about(lines, PUBLISHED)))
    # What was done is told before there is a line about it: each service says so a little later than the API does.
    until(cluster, "orchestrator", lambda lines: said_of_both(lines, "execution ended", 2))
    for service, steps in {"data_agent": 2, "decision_agent": 1, "coordinator_agent": 2}.items():
        until(cluster, service, lambda lines, steps=steps: said_of_both(lines, "step succeeded", steps))
    until(cluster, "decision_agent", lambda lines: all(mail_about(lines, one) for one in (GIVEN, TRACE)))
    until(cluster, "registry", lambda lines: all(about(lines, one) for one in (GIVEN, TRACE)))
    logs = {service: lines_of(cluster, service) for service in SERVICES}

    for correlation_id, execution_id in ((GIVEN, first), (TRACE, second)):
        child = children[correlation_id]
        mine = {service: about(logs[service], correlation_id) for service in SERVICES}
        assert [service for service in SERVICES if not mine[service]] == ["dead_letters"]
        of_executions = {line["execution_id"] for lines in mine.values() for line in lines if "execution_id" in line}
        assert of_executions == {execution_id, child}
        for service in SERVICES[1:]:  # to the edge, looking at an execution later is another request
            found = [line for line in logs[service] if line.get("execution_id") in (execution_id, child)]
            assert {line["correlation_id"] for line in found} <= {correlation_id}, service

        (request,) = [line for line in mine["edge"] if line["event"] == "request"]
        assert (request["method"], request["route"], request["status"]) == ("POST", "/api/v1/executions", 202)
        assert (request["execution_id"], request["actor"]) == (execution_id, "key:first-admin")
        said = Counter((line["event"], line["execution_id"], line["workflow_name"]) for line in ends(mine))
        assert said == dict.fromkeys(
            [
                ("execution started", execution_id, "everyone"),
                ("execution ended", execution_id, "everyone"),
                ("execution started", child, "inner"),
                ("execution ended", child, "inner"),
            ],
            1,
        )
        steps = [line for service in AGENTS for line in mine[service] if line["event"] == "step succeeded"]
        assert sorted((one["service"], one["execution_id"], one["step"], one["attempt"]) for one in steps) == sorted(
            [(one["agent_type"], execution_id, one["id"], 1) for one in STEPS] + [("data_agent", child, "look", 1)]
        )
        assert all(one["agent_type"] == one["agent_id"] == one["service"] and one["seconds"] >= 0 for one in steps)
        mail = mail_about(mine["decision_agent"], correlation_id)
        assert mail, "the coordinator asked the decision agent, and the request's id went with the question"
        assert {line["agent_id"] for line in mail} == {"decision_agent"}

    refused = about(logs["dead_letters"], PUBLISHED)
    assert [(line["event"], line["reason"]) for line in refused] == [("dead letter", "refused")]


def ends(mine: dict[str, list[Line]]) -> list[Line]:
    return [line for line in mine["orchestrator"] if line["event"].startswith("execution ")]
