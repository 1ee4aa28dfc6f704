"""The whole system with signatures required: services, the REST API, and a program that publishes straight onto the
broker, with a key and without."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from scripts.servers import Server
from services.runtime.security.message_keys_command import main as message_keys
from tests.support.api_access import HEADERS
from tests.support.cluster import PATIENCE, Cluster

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "publish_and_follow.py"


ENVIRONMENT = {**os.environ, "CONCLAVE_KEY": "", "PYTHONUNBUFFERED": "1"}


def script(url: str, *arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), url, *arguments]


@contextmanager
def waiting_in_vain(url: str, *arguments: str) -> Iterator[None]:
    """The script, which goes on waiting for an answer for as long as the block runs."""
    with subprocess.Popen(script(url, *arguments), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("published ")
            yield
            time.sleep(3)  # an answer would come at the same time as the dead letter
            assert process.poll() is None, process.stdout.read()
        finally:
            process.kill()
        assert process.stdout.read() == "", "nobody answers what is refused"


def reasons(cluster: Cluster) -> list[str]:
    answer = httpx.get(f"{cluster.url}/monitoring/dead-letters", headers=HEADERS, timeout=30)
    assert answer.status_code == 200, answer.text
    return sorted(letter["reason"] for letter in answer.json()["items"])


def wait_for_letters(cluster: Cluster, *expected: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(found := reasons(cluster)) < len(expected):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert found == list(expected)


def test_signed_executions_run_and_unsigned_ones_are_dead_letters(
    cluster: Cluster, system_rabbit: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    monkeypatch.setenv("MESSAGE_KEYS", str(keys))
    assert message_keys(["create-all"]) == 0
    assert message_keys(["create", "shop", "--kind", "client"]) == 0
    cluster.start("all", extra={"MESSAGE_SIGNING": "required", "MESSAGE_KEYS": str(keys)})
    cluster.wait_until_ready("data_agent", "decision_agent")

    command = script(system_rabbit.url, "--key", str(keys / "shop.private.json"))
    followed = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=ENVIRONMENT)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert "execution.completed.v1" in followed.stdout

    with waiting_in_vain(system_rabbit.url):  # nobody answers what nobody signed
        wait_for_letters(cluster, "unsigned")
    # A key that is good, in the name of another.
    (keys / "shop.private.json").rename(keys / "bank.private.json")
    with waiting_in_vain(system_rabbit.url, "--key", str(keys / "bank.private.json")):
        wait_for_letters(cluster, "forbidden-sender", "unsigned")
    executions = httpx.get(f"{cluster.url}/executions", headers=HEADERS, timeout=30).json()["items"]
    assert len(executions) == 1
