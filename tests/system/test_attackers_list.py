"""The attacker's list, against real processes over a real RabbitMQ where signatures are required: each attack is
refused, is told so, and stands on the audit log; and the system goes on."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import OctKey, OKPKey
from pymongo import MongoClient

from contracts.execution import CancelExecution, StartExecution, StepResult, StepResults
from contracts.topology import shard_key
from scripts.servers import Server, find_rabbitmq
from services.runtime.security.principal import SenderKind
from tests.conftest import found_or_not_run, in_ci
from tests.support.api_access import HEADERS
from tests.support.attacker import altered, nested, publish, send_a_gigabyte, signed_frame
from tests.support.cluster import ROOT, Cluster
from tests.support.signing import add_key
from tests.support.token_maker import AUDIENCE, ISSUER, claims, forged, signed

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

SERVICES = ("orchestrator", "registry", "dead_letters", "access", "auditor", "edge")
AGENTS = ("data_agent", "decision_agent", "coordinator_agent")
WINDOW = 10  # seconds: MESSAGE_REPLAY_WINDOW
PATIENCE = 60.0
ISSUER_KEY = OKPKey.generate_key("Ed25519", parameters={"kid": "issuer-1"})


class Target:
    """The system under attack, and what is known of it from outside."""

    def __init__(self, cluster: Cluster, broker_url: str, keys: Path, environment: dict[str, str]) -> None:
        self.cluster = cluster
        self.broker_url = broker_url
        self.keys = keys
        self.environment = environment
        self.client = httpx.Client(base_url=cluster.url, timeout=60)

    def request(self, name: str, method: str, path: str, **more: Any) -> httpx.Response:
        """A request that is known by ``name`` on the audit log."""
        headers = {"X-Correlation-ID": name, **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def audited(self, correlation_id: str, **wanted: str) -> dict[str, Any]:
        """The entry with these members that belongs to a request or a message; ``detail`` is what it begins with."""
        begins = wanted.pop("detail", "")
        deadline = time.monotonic() + PATIENCE
        while True:
            parameters = {"correlation_id": correlation_id, "limit": "200"}
            answer = self.client.get("/monitoring/audit", params=parameters, headers=HEADERS)
            entries = answer.raise_for_status().json()["items"]
            for entry in entries:
                if wanted.items() <= entry.items() and entry["detail"].startswith(begins):
                    return dict(entry)
            assert time.monotonic() < deadline, f"not on record: {wanted}, {begins!r} among {entries}"
            time.sleep(0.2)

    def dead_letter(self, message_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.client.get("/monitoring/dead-letters", params={"limit": "200"}, headers=HEADERS)
            rows = answer.raise_for_status().json()["items"]
            for row in rows:
                if row["message_id"] == message_id:
                    return dict(row)
            assert time.monotonic() < deadline, f"{message_id} is no dead letter"
            time.sleep(0.2)

    def run(self, name: str, definition: dict[str, Any]) -> dict[str, Any]:
        """An execution of the admin's, once it has ended."""
        answer = self.request(name, "POST", "/executions", json={"definition": definition}, headers=HEADERS)
        assert answer.status_code == 202, answer.text
        (ended,) = self.cluster.wait_until_ended([answer.json()["execution_id"]])
        return ended


@pytest.fixture(scope="module")
def broker() -> Iterator[Server]:
    with found_or_not_run(lambda: find_rabbitmq(own=True, install=in_ci())) as server:
        yield server


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, broker: Server, mongo_url: str) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("attacked")
    keys, data = folder / "keys", folder / "data"
    data.mkdir()
    (data / "numbers.csv").write_text("x\n1\n2\n")
    (folder / "secret.csv").write_text("password\nhunter2\n")
    (data / "link.csv").symlink_to(folder / "secret.csv")
    for name in SERVICES:
        add_key(keys, name)
    for name in AGENTS:
        add_key(keys, name, SenderKind.AGENT, [name])
    add_key(keys, "visitor", SenderKind.CLIENT)
    (folder / "issuer.json").write_text(json.dumps({"keys": [ISSUER_KEY.as_dict(private=False)]}))
    environment = {
        "COMMUNICATION_PROTOCOL": "rabbitmq",
        "RABBITMQ_URL": broker.url,
        "DATABASE_URL": f"{mongo_url.rsplit('/', 1)[0]}/attacked_{folder.name}",
        "DATA_FOLDER": str(data),
        "AGENT_POLICY": "",
        "MESSAGE_SIGNING": "required",
        "MESSAGE_KEYS": str(keys),
        "MESSAGE_REPLAY_WINDOW": str(WINDOW),
        "JWT_ALGORITHM": "EdDSA",
        "JWT_JWKS": str(folder / "issuer.json"),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
    }
    cluster = Cluster(folder, environment)
    try:
        cluster.start(*SERVICES, *AGENTS)
        cluster.wait_until_ready(*AGENTS)
        yield Target(cluster, broker.url, keys, environment)
    finally:
        cluster.close()


def step(action: str, **inputs: Any) -> dict[str, Any]:
    return {"id": "one", "agent_type": "data_agent", "action": action, "inputs": inputs}


def definition(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"name": "attack", "steps": list(steps)}


GOOD = definition(step("profile", data_source=[{"x": 1}]))


@pytest.mark.parametrize("key", ["", "ck_testsadmin00_" + "A" * 43, "nonsense"])
def test_without_a_valid_key_nobody_gets_in(target: Target, key: str) -> None:
    name = f"no-key-{len(key)}"
    answer = target.request(name, "POST", "/executions", json={"definition": GOOD}, headers={"X-API-Key": key})
    assert answer.status_code == 401
    assert target.audited(name, result="refused")["actor"] == "anonymous"


def test_a_viewer_does_not_start(target: Target) -> None:
    made = target.client.post("/keys", json={"name": "watcher", "role": "viewer"}, headers=HEADERS)
    assert made.status_code == 201, made.text
    viewer = {"X-API-Key": made.json()["key"]}
    assert target.request("viewer-reads", "GET", "/executions", headers=viewer).status_code == 200
    answer = target.request("viewer-starts", "POST", "/executions", json={"definition": GOOD}, headers=viewer)
    assert answer.status_code == 403
    assert target.audited("viewer-starts", result="refused")["actor"] == "key:watcher"


def test_tokens_that_nobody_signed_are_refused(target: Target) -> None:
    public = json.dumps(ISSUER_KEY.as_dict(private=False)).encode()
    attacks = {
        "none": forged({"alg": "none"}, claims()),
        "none-with-kid": forged({"alg": "None", "kid": "issuer-1"}, claims()),
        "swapped": signed({"alg": "HS256", "kid": "issuer-1"}, claims(), OctKey.import_key(public)),
        "expired": signed({"alg": "EdDSA", "kid": "issuer-1"}, claims(exp=int(time.time()) - 3_600), ISSUER_KEY),
    }
    good = signed({"alg": "EdDSA", "kid": "issuer-1"}, claims(), ISSUER_KEY)
    attacks["altered"] = good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:]
    for name, token in attacks.items():
        bearer = {"Authorization": f"Bearer {token}"}
        answer = target.request(f"jwt-{name}", "POST", "/executions", json={"definition": GOOD}, headers=bearer)
        assert answer.status_code == 401, name
        assert target.audited(f"jwt-{name}", result="refused")["actor"] == "anonymous"
    assert target.request("jwt-good", "GET", "/executions", headers={"Authorization": f"Bearer {good}"}).is_success


def test_an_altered_byte_is_noticed(target: Target) -> None:
    start = StartExecution(execution_id="altered-1", definition=GOOD, client="visitor")
    frame = signed_frame(target.keys, "visitor", start, message_id="altered-message")
    publish(target.broker_url, altered(frame, b"altered-1", b"altered-2"))
    assert target.dead_letter("altered-message")["reason"] == "bad-signature"
    target.audited("altered-message", result="refused", detail="bad-signature")


def test_a_message_that_comes_again_is_a_replay(target: Target) -> None:
    start = StartExecution(execution_id="replayed-1", definition=GOOD, client="visitor")
    frame = signed_frame(target.keys, "visitor", start, message_id="replayed-message")
    publish(target.broker_url, frame)
    target.audited("replayed-message", result="done", action="execution.completed.v1")
    time.sleep(WINDOW + 2)
    publish(target.broker_url, frame)
    assert target.dead_letter("replayed-message")["reason"] == "replayed"
    target.audited("replayed-message", result="refused", detail="replayed")


def test_a_client_only_starts_and_cancels_and_in_its_own_name(target: Target) -> None:
    forged_start = StartExecution(execution_id="in-the-name-of", definition=GOOD, client="admin")
    publish(target.broker_url, signed_frame(target.keys, "visitor", forged_start, message_id="other-name"))
    assert target.dead_letter("other-name")["reason"] == "forbidden-sender"
    target.audited("other-name", result="refused", detail="forbidden-sender")
    stranger = CancelExecution(execution_id="in-the-name-of")
    publish(target.broker_url, signed_frame(target.keys, "data_agent", stranger, message_id="host-cancels"))
    assert target.dead_letter("host-cancels")["reason"] == "forbidden-sender"
    target.audited("host-cancels", result="refused", detail="forbidden-sender")


def test_an_agent_does_not_answer_for_another_type(target: Target) -> None:
    slow = definition(step("query", data_source="numbers.csv", sql="SELECT count(*) FROM range(400000000) a"))
    answer = target.request("impersonated", "POST", "/executions", json={"definition": slow}, headers=HEADERS)
    execution_id = answer.json()["execution_id"]
    result = StepResult(
        result_id="forged", execution_id=execution_id, step="one", attempt=1, ok=True, output={"rows": "forged"}
    )
    key = shard_key(execution_id)
    for claimed in ("data_agent", "decision_agent"):
        message = StepResults(reply_key=key, agent_type=claimed, action="query", results=(result,))
        message_id = f"forged-result-as-{claimed}"
        sender = "decision_agent-0123abcd"
        publish(
            target.broker_url,
            signed_frame(target.keys, "decision_agent", message, sender=sender, message_id=message_id),
        )
        assert target.dead_letter(message_id)["reason"] == "forbidden-sender"
        target.audited(message_id, result="refused", detail="forbidden-sender")
    (ended,) = target.cluster.wait_until_ended([execution_id])
    assert "forged" not in json.dumps(ended)


@pytest.mark.parametrize("name", ["../secret.csv", "link.csv", "/etc/passwd", "..%2fsecret.csv"])
def test_no_path_leads_out_of_the_data_folder(target: Target, name: str) -> None:
    correlation_id = f"path-{name.translate(str.maketrans('./%', '---'))}"
    ended = target.run(correlation_id, definition(step("profile", data_source=name)))
    assert ended["status"] == "failed"
    error = ended["steps"]["one"]["error"]["type"]
    assert error in ("ForbiddenPath", "SourceNotFound")
    assert "hunter2" not in json.dumps(ended)
    target.audited(correlation_id, result="failed", action="execution.failed.v1", detail=f"one: {error}")


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", "ForbiddenSql"),
        ("COPY data TO '/tmp/out.csv'", "ForbiddenSql"),
        ("SELECT string_agg(repeat('x', 100000000), '') FROM range(1000) r(i)", "MemoryLimit"),
        ("SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 7", "QueryTimeout"),
    ],
)
def test_sql_neither_reads_files_nor_takes_all_there_is(target: Target, sql: str, error: str) -> None:
    correlation_id = f"sql-{error}-{len(sql)}"
    ended = target.run(correlation_id, definition(step("query", data_source="numbers.csv", sql=sql)))
    assert (ended["status"], ended["steps"]["one"]["error"]["type"]) == ("failed", error)
    target.audited(correlation_id, result="failed", action="execution.failed.v1", detail=f"one: {error}")


@pytest.mark.parametrize(
    "expression",
    ["(" * 5_000 + "true" + ")" * 5_000, " + ".join(["1"] * 20_000) + " > 0", "inputs" + ".a" * 20_000 + " == 1"],
    ids=["nested", "long", "chained"],
)
def test_a_cel_bomb_is_refused(target: Target, expression: str, request: pytest.FixtureRequest) -> None:
    name = f"cel-{request.node.callspec.id}"
    bomb = definition({**step("profile", data_source=[{"x": 1}]), "condition": expression})
    answer = target.request(name, "POST", "/workflows", json=bomb, headers=HEADERS)
    assert answer.status_code == 422, answer.text
    assert "condition" in answer.json()["errors"][0]["path"]
    target.audited(name, result="refused")


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_of_a_gigabyte_is_not_read(target: Target, chunked: bool) -> None:
    name = f"gigabyte-{chunked}"
    headers = {**HEADERS, "X-Correlation-ID": name}
    status, sent = send_a_gigabyte(target.cluster.port, "/api/v1/executions", headers, chunked=chunked)
    assert status == 413
    assert sent < 64 * 1024 * 1024
    target.audited(name, result="refused")


@pytest.mark.parametrize("path", ["/executions", "/workflows"])
def test_a_definition_nested_ten_thousand_deep_is_refused(target: Target, path: str) -> None:
    name = f"deep{path.replace('/', '-')}"
    headers = {**HEADERS, "Content-Type": "application/json"}
    answer = target.request(name, "POST", path, content=nested(10_000), headers=headers)
    assert answer.status_code in (400, 422), answer.text
    target.audited(name, result="refused")


def test_after_all_that_it_works_and_a_changed_audit_entry_is_named(target: Target) -> None:
    assert target.run("still-works", GOOD)["status"] == "completed"
    verify = [sys.executable, "-m", "services", "audit", "verify"]
    environment = {**os.environ, **target.environment, "LOG_LEVEL": "WARNING"}
    before = subprocess.run(verify, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert before.returncode == 0, before.stdout + before.stderr

    n = target.audited("viewer-starts", result="refused")["n"]
    with MongoClient[dict[str, Any]](target.environment["DATABASE_URL"]) as client:
        audit = client.get_default_database()["audit"]
        (row,) = audit.find({"n": n})
        audit.update_one({"_id": row["_id"]}, {"$set": {"record": row["record"].replace("watcher", "nobody")}})
    after = subprocess.run(verify, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert after.returncode == 1
    assert f"entry {n} was altered" in after.stdout + after.stderr
