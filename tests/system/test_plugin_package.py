"""Plugins as installed packages: built and installed offline, announced by their entry points, run and messaged."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.envelope import new_id
from services.plugin_agent.new_agent import create_agent
from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.mongodb]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugins" / "name_matcher"
BROKEN = """\
[project]
name = "broken-plugin"
version = "1.0"
[project.entry-points."conclave.agents"]
broken = "gone:Gone"
"""


def install(package: Path, into: Path) -> None:
    """What ``pip install`` does, with nothing but what is on this machine."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--target", str(into), str(package)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The example and a new agent, and a package that promises an agent it does not have."""
    site, sources = tmp_path / "site", tmp_path / "sources"
    # Building leaves files beside the source.
    shutil.copytree(EXAMPLE, sources / "name_matcher", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    create_agent("stock_level", sources)
    (sources / "broken").mkdir()
    (sources / "broken" / "pyproject.toml").write_text(BROKEN, encoding="utf-8")
    for package in ("name_matcher", "stock_level", "broken"):
        install(sources / package, site)
    return site


@pytest.fixture
def system(tmp_path: Path, mongo_url: str, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Every service in one process that finds the installed packages."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    database = f"{mongo_url.rsplit('/', 1)[0]}/plugins_{new_id()[:12]}"
    cluster = Cluster(tmp_path, {"COMMUNICATION_PROTOCOL": "direct", "DATABASE_URL": database})
    cluster.start("all")
    yield cluster
    cluster.close()


def announced(cluster: Cluster, *agent_types: str) -> dict[str, Any]:
    """``GET /agents/types`` once all of these are there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = httpx.get(f"{cluster.url}/agents/types", headers=HEADERS, timeout=10)
            if answer.status_code == 200 and {*agent_types} <= {one["agent_type"] for one in answer.json()["items"]}:
                return dict(answer.json())
        except httpx.TransportError:
            assert cluster.alive("all"), cluster.log("all")
        assert time.monotonic() < deadline, cluster.log("all")
        time.sleep(0.2)


def test_installed_packages_are_announced_run_and_messaged(system: Cluster) -> None:
    types = announced(system, "name_matcher", "stock_level")
    (fault,) = types["faults"]
    assert fault["plugin"] == "broken"
    assert fault["source"] == "broken-plugin 1.0, entry point broken = gone:Gone"
    assert fault["error"] == "ModuleNotFoundError: No module named 'gone'"
    assert "Traceback" in fault["traceback"]
    assert "No module named 'gone'" in system.log("all")

    names = {"names": ["ACME Incorporated", "Nobody"], "candidates": ["Umbrella", "Acme Inc."]}
    steps = [
        {"id": "who", "agent_type": "name_matcher", "action": "match", "inputs": names},
        {
            "id": "check",
            "agent_type": "stock_level",
            "action": "check",
            "inputs": {"values": ["${steps.who.output.unmatched}", 200]},
        },
    ]
    (ended,) = system.wait_until_ended([system.start_execution({"name": "plugins", "steps": steps})])
    assert ended["status"] == "completed", ended["errors"]
    matches = ended["steps"]["who"]["output"]["matches"]
    assert [match["candidate"] for match in matches] == ["Acme Inc.", None]
    assert ended["steps"]["check"]["output"] == {"mean": 100.5, "above": [200], "limit": 100}

    message = {"message_type": "same", "payload": {"one": "Acme Ltd", "other": "ACME"}}
    address = f"{system.url}/agents/name_matcher/message"
    asking: dict[str, Any] = {"params": {"wait": "true"}, "headers": HEADERS, "timeout": 30}
    answer = httpx.post(address, json=message, **asking).json()
    assert (answer["status"], answer["reply"]) == ("answered", {"score": 1, "same": True})
    bad = httpx.post(address, json={"message_type": "same", "payload": {"one": "Acme"}}, **asking)
    assert (bad.status_code, bad.json()["code"]) == (422, "InvalidMessage")


def test_the_example_passes_its_own_test(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE)]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
