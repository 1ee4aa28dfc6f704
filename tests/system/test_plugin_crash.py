"""A plugin that kills its process, over a real broker: it fails by name, and the plugin beside it goes on."""

import time
from pathlib import Path

import httpx
import pytest

from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

UNITS = Path(__file__).resolve().parents[2] / "examples" / "plugins" / "folder" / "unit_converter.py"
DEADLY = """
import os

from pydantic import BaseModel

from services.runtime.agent import BaseAgent, capability


class Nothing(BaseModel):
    pass


class Deadly(BaseAgent):
    agent_type = "deadly"

    @capability("die")
    def die(self, request: Nothing) -> Nothing:
        os._exit(9)
"""


def test_a_plugin_that_kills_its_process_fails_by_name(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "deadly.py").write_text(DEADLY, encoding="utf-8")
    (folder / "units.py").write_text(UNITS.read_text(encoding="utf-8"), encoding="utf-8")
    plugins = {"PLUGIN_FOLDER": str(folder)}
    cluster.start("orchestrator", "registry", "edge")
    cluster.start("plugin_agent", extra=plugins)
    wait_for_type(cluster, "deadly")
    inputs = {"quantities": [{"value": 1, "unit": "km"}], "to": "m"}
    innocent = {"id": "s", "agent_type": "unit_converter", "action": "convert", "inputs": inputs}
    deadly = {"name": "deadly", "steps": [{"id": "die", "agent_type": "deadly", "action": "die"}]}
    started = [cluster.start_execution(deadly), cluster.start_execution({"name": "innocent", "steps": [innocent]})]
    cluster.keep_alive("plugin_agent", started, extra=plugins)
    died, lived = (cluster.execution(one) for one in started)
    error = died["steps"]["die"]["error"]
    assert (died["status"], error["type"]) == ("failed", "AgentCrashed")
    assert error["message"] == "the process died while die ran alone in it"
    assert cluster.alive("plugin_agent")
    assert (lived["status"], lived["outputs"]["s"]["values"]) == ("completed", [1000])


def wait_for_type(cluster: Cluster, agent_type: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            types = httpx.get(f"{cluster.url}/agents/types", headers=HEADERS, timeout=10).json()
            if agent_type in {one["agent_type"] for one in types.get("items", ())}:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, cluster.log("plugin_agent")
        time.sleep(0.2)
