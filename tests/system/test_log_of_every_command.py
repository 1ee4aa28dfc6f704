"""However a service is started, whatever it and its libraries say is a line of JSON that names the service."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.envelope import new_id
from scripts.servers import free_port
from tests.support.api_access import HEADERS, store_admin_key
from tests.support.cluster import PATIENCE, ROOT, Cluster, whole_lines

pytestmark = [pytest.mark.system, pytest.mark.mongodb]

ROWS = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]
STEP = {"id": "decide", "agent_type": "decision_agent", "action": "make_decision", "inputs": {"data": ROWS}}

Line = dict[str, Any]


def run_until(
    path: Path, command: list[str], environment: Mapping[str, str], enough: Callable[[list[Line]], bool]
) -> list[Line]:
    """Every line that a process wrote, from its start to its end by SIGTERM when it has written enough."""
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "METRICS_PORT": "0", **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not enough(lines_in(path, so_far=True)):
            assert process.poll() is None, path.read_text()
            assert time.monotonic() < deadline, path.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM), path.read_text()
    finally:
        process.kill()
        process.wait()
    return lines_in(path)


def lines_in(path: Path, *, so_far: bool = False) -> list[Line]:
    """``so_far``: without the last one, as long as it is being written."""
    text = path.read_text()
    lines = [json.loads(line) for line in (whole_lines(text) if so_far else text.splitlines())]
    assert all(line.keys() >= {"timestamp", "level", "service", "event"} for line in lines)
    return lines


def events(lines: list[Line]) -> list[str]:
    return [line["event"] for line in lines]


@pytest.mark.rabbitmq
def test_faststreams_command_logs_as_a_service_does(tmp_path: Path, rabbit_url: str) -> None:
    lines = run_until(
        tmp_path / "log",
        ["faststream", "run", "services.decision_agent.app:app", "--factory"],
        {"COMMUNICATION_PROTOCOL": "rabbitmq", "RABBITMQ_URL": rabbit_url},
        lambda lines: "service started" in events(lines),
    )
    assert {line["service"] for line in lines} == {"decision_agent"}
    assert "service stopped" in events(lines)


@pytest.mark.rabbitmq
def test_uvicorns_command_logs_as_the_edge_does(tmp_path: Path, mongo_url: str, rabbit_url: str) -> None:
    port = free_port()
    database = f"{mongo_url.rsplit('/', 1)[0]}/logs_{new_id()[:12]}"
    store_admin_key(database)

    def answered(lines: list[Line]) -> bool:
        if "service started" in events(lines):
            url = f"http://127.0.0.1:{port}"
            with suppress(httpx.ConnectError):  # uvicorn listens after that
                httpx.get(f"{url}/health", headers={"X-Correlation-ID": "unseen"}, timeout=30)
                address = f"{url}/api/v1/executions/exec-none"
                httpx.get(address, headers={**HEADERS, "X-Correlation-ID": "seen"}, timeout=30)
        return any(line["event"] == "request" for line in lines)

    lines = run_until(
        tmp_path / "log",
        ["uvicorn", "services.edge.app:app", "--factory", "--port", str(port), "--timeout-graceful-shutdown", "5"],
        {"COMMUNICATION_PROTOCOL": "rabbitmq", "RABBITMQ_URL": rabbit_url, "DATABASE_URL": database},
        answered,
    )
    assert {line["service"] for line in lines} == {"edge"}
    assert not any(line.get("logger") == "uvicorn.error" for line in lines), "uvicorn's own chatter is for DEBUG"
    requests = [line for line in lines if line["event"] == "request"]
    assert {(line["correlation_id"], line["route"], line["status"], line["execution_id"]) for line in requests} == {
        ("seen", "/api/v1/executions/{execution_id}", 404, "exec-none")
    }


def test_each_line_of_one_process_names_the_service_that_wrote_it(one_process: Cluster) -> None:
    one_process.start("all")
    one_process.wait_until_ready("decision_agent")
    execution_id = one_process.start_execution({"name": "one", "steps": [STEP]})
    one_process.wait_until_ended([execution_id])
    assert one_process.terminate("all") == 0
    lines = [json.loads(line) for line in one_process.log("all").splitlines()]
    mine = {line["event"]: line["service"] for line in lines if line.get("execution_id") == execution_id}
    assert mine == {
        "request": "edge",
        "execution started": "orchestrator",
        "step succeeded": "decision_agent",
        "execution ended": "orchestrator",
    }
    started = sorted(line["service"] for line in lines if line["event"] == "service started")
    stopped = sorted(line["service"] for line in lines if line["event"] == "service stopped")
    assert started == stopped
    assert {"edge", "orchestrator", "registry", "access", "data_agent", "decision_agent"} <= set(started)
    (ending,) = [line for line in lines if line["event"] == "stopping"]
    assert ending["service"] == "conclave", "what is nobody's alone is the process's"
