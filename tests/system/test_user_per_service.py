"""The whole system over mutual TLS, every service a process under a RabbitMQ user of its own that may do no more than
it needs: all that users do works, and nothing was refused on the way."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest

from contracts.envelope import new_id
from scripts.servers import find_rabbitmq, rabbitmq_program
from tests.conftest import found_or_not_run, in_ci
from tests.support.api_access import HEADERS
from tests.support.certificates import Authority
from tests.support.cluster import Cluster
from tests.support.rabbitmq_users import run_script, url_of
from tests.support.tls_servers import TlsRabbit

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

SERVICES = ("orchestrator", "registry", "dead_letters", "access", "auditor", "monitor", "edge")
HOSTS = ("data_agent", "decision_agent", "coordinator_agent", "plugin_agent")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "publish_and_follow.py"
PATIENCE = 60.0
PLUGIN = """
from pydantic import BaseModel

from services.runtime.agent import BaseAgent, capability


class Greeting(BaseModel):
    name: str


class Greeter(BaseAgent):
    agent_type = "greeter"

    @capability("greet")
    def greet(self, request: Greeting) -> Greeting:
        return Greeting(name=f"hello {request.name}")
"""
ROWS = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]
DECISION = {"data": ROWS, "method": "weighted_sum", "alternatives": "name", "criteria": [{"name": "x", "weight": 1}]}
LOOK = {"id": "look", "agent_type": "data_agent", "action": "profile", "inputs": {"data_source": ROWS}}
INNER = {"name": "inner", "steps": [LOOK]}
DEFINITION = {
    "name": "everyone",
    "steps": [
        LOOK,
        {"id": "decide", "agent_type": "decision_agent", "action": "make_decision", "inputs": DECISION},
        {"id": "greet", "agent_type": "greeter", "action": "greet", "inputs": {"name": "all"}},
        {
            "id": "delegate",
            "agent_type": "coordinator_agent",
            "action": "delegate",
            "inputs": {"definition": INNER, "inputs": {}},
        },
    ],
}


@dataclass
class System:
    cluster: Cluster
    broker: TlsRabbit
    passwords: Path
    api: httpx.Client

    def until(self, path: str, enough: Any) -> Any:
        """Ask until the answer is what it should be."""
        deadline = time.monotonic() + PATIENCE
        while not enough(said := self.api.get(path).json()):
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        return said

    def refusals(self) -> list[str]:
        """What RabbitMQ refused somebody, by its log, other than to make an exchange, which each service tries once at
        its start, and an agent's queue, which its hosts do."""
        log = (self.broker.folder / "server.log").read_text(errors="replace")
        refused = [line for line in log.splitlines() if "refused for user" in line]
        makes = ("operation exchange.declare", "operation queue.declare caused a channel exception")
        return [line for line in refused if makes[0] not in line and not (makes[1] in line and ".agent." in line)]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, mongo_url: str) -> Iterator[System]:
    if rabbitmq_program() is None:
        found_or_not_run(lambda: find_rabbitmq(own=True, containers=False, install=in_ci())).stop()
    folder = tmp_path_factory.mktemp("system")
    plugins = folder / "plugins"
    plugins.mkdir()
    (plugins / "greeter.py").write_text(PLUGIN)
    authority = Authority(folder)
    mine = authority.issue("service")
    broker = TlsRabbit(authority.issue("broker", "127.0.0.1"))
    with broker:
        passwords = folder / "passwords"
        made = run_script(broker, passwords, "--agents", "plugin_agent=greeter")
        assert made.returncode == 0, made.stderr
        cluster = Cluster(
            folder,
            {
                "COMMUNICATION_PROTOCOL": "rabbitmq",
                "TLS_CA": str(authority.ca),
                "TLS_CERTIFICATE": str(mine.certificate),
                "TLS_KEY": str(mine.key),
                "DATABASE_URL": f"{mongo_url.rsplit('/', 1)[0]}/users_{new_id()[:12]}?tls=false",
                "PLUGIN_FOLDER": str(plugins),
                "AGENT_HEARTBEAT": "1",
            },
        )
        try:
            for name in (*SERVICES, *HOSTS):
                cluster.start(name, extra={"RABBITMQ_URL": url_of(broker.tls_url, passwords, name)})
            cluster.wait_until_ready("data_agent", "decision_agent", "coordinator_agent")
            with httpx.Client(base_url=cluster.url, headers=HEADERS, timeout=30) as api:
                system = System(cluster, broker, passwords, api)
                system.until("/agents/types", lambda said: '"agent_type": "greeter"' in json.dumps(said))
                yield system
        finally:
            cluster.close()


def test_an_execution_of_every_agent_type_completes(system: System) -> None:
    execution_id = system.cluster.start_execution(DEFINITION)
    (ended,) = system.cluster.wait_until_ended([execution_id])
    assert ended["status"] == "completed", ended
    assert system.refusals() == []


def test_an_agent_is_made_works_answers_and_is_deleted(system: System) -> None:
    """The registry makes its queue and takes it away; the host only takes from it."""
    made = system.api.post("/agents", json={"agent_type": "greeter", "agent_id": "clerk-7"})
    assert made.status_code == 201, made.text
    asked = system.api.post(
        "/agents/clerk-7/message", params={"wait": True}, json={"payload": {"action": "greet", "inputs": {"name": "x"}}}
    )
    assert asked.status_code == 200, asked.text
    step = {"id": "one", "agent_type": "greeter", "agent_id": "clerk-7", "action": "greet", "inputs": {"name": "y"}}
    (ended,) = system.cluster.wait_until_ended([system.cluster.start_execution({"name": "one", "steps": [step]})])
    assert ended["status"] == "completed", ended
    assert system.api.delete("/agents/clerk-7").status_code in (200, 202, 204)
    told = system.api.post("/agents/broadcast", json={"message_type": "", "payload": {"x": 1}})
    assert told.status_code == 202, told.text
    assert system.refusals() == []


def test_a_program_starts_an_execution_on_the_broker_under_the_clients_user(system: System) -> None:
    url = url_of(system.broker.url, system.passwords, "client")
    done = subprocess.run([sys.executable, str(EXAMPLE), url], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.refusals() == []


async def test_a_message_that_is_none_becomes_a_dead_letter_and_is_settled(system: System) -> None:
    async with await aio_pika.connect(url_of(system.broker.url, system.passwords, "client")) as connection:
        channel = await connection.channel(on_return_raises=True)
        commands = await channel.get_exchange("conclave.commands")
        message = aio_pika.Message(b"{}", type="execution.start.v1", message_id=new_id())
        await commands.publish(message, routing_key="execution.start", mandatory=True)
    letters = system.until("/monitoring/dead-letters?reason=contract", lambda said: said.get("items"))
    letter_id = letters["items"][0]["dead_letter_id"]
    replayed = system.api.post(f"/monitoring/dead-letters/{letter_id}/replay")
    assert replayed.status_code == 200, replayed.text
    letters = system.until(
        "/monitoring/dead-letters?reason=contract", lambda said: said["items"][:1] not in ([], letters["items"])
    )
    again = letters["items"][0]["dead_letter_id"]
    assert again != letter_id
    assert system.api.delete(f"/monitoring/dead-letters/{again}").status_code == 200
    assert system.refusals() == []


def test_keys_are_made_and_everything_is_on_the_audit_log(system: System) -> None:
    made = system.api.post("/keys", json={"name": "dashboard", "role": "viewer"})
    assert made.status_code == 201, made.text
    seen = system.until("/monitoring/audit?action=api_key.create.v1", lambda said: said.get("items"))
    assert seen["items"]
    assert system.refusals() == []
