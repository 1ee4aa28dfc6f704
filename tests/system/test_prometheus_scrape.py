"""A real Prometheus with our configuration and our alerts scrapes the real services over RabbitMQ."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from scripts.prometheus_tools import PrometheusServer, find_prometheus_tools
from scripts.servers import free_port
from tests.conftest import found_or_not_run, in_ci
from tests.support.cluster import Cluster
from tests.system.test_processes import chain

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

MONITORING = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
SERVICES = (
    *("access", "auditor", "dead_letters", "edge", "monitor", "orchestrator", "registry"),
    *("data_agent", "decision_agent"),
)
PATIENCE = 120.0
GOOD = 5
# Fails at both attempts: there is no such table.
BAD = {
    "name": "bad",
    "steps": [
        {
            "id": "ask",
            "agent_type": "data_agent",
            "action": "query",
            "inputs": {"data_source": [{"x": 1}], "sql": "SELECT * FROM nowhere"},
            "retry": {"max_attempts": 2, "backoff": 0.01, "on": ["UnknownTable"]},
        }
    ],
}


class Prometheus:
    """Questions to a running one."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=30)

    def targets(self) -> dict[str, str]:
        """The health of each service's target."""
        active = self._ask("/targets")["activeTargets"]
        return {target["labels"]["app"]: f"{target['health']}{target['lastError']}" for target in active}

    def alerts(self) -> list[tuple[str, str]]:
        """Those that fire, and those that would if it lasted: name, and what they are about."""
        found = self._ask("/alerts")["alerts"]
        return sorted((alert["labels"]["alertname"], alert["labels"].get("service", "")) for alert in found)

    def rules(self) -> dict[str, str]:
        groups = self._ask("/rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def values(self, expression: str) -> dict[str, float]:
        """The result of an expression, by the values of its labels, in the order of their names."""
        result = self._ask("/query", query=expression)["result"]
        return {" ".join(value for _, value in sorted(one["metric"].items())): float(one["value"][1]) for one in result}

    def _ask(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@contextmanager
def prometheus_over(targets: Mapping[str, str], folder: Path) -> Iterator[Prometheus]:
    """One with our prometheus.yml, but that it looks more often, and knows where the services are without DNS."""
    tools = found_or_not_run(lambda: find_prometheus_tools(download=in_ci()))
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(MONITORING / path) for path in configuration["rule_files"]]
    (job,) = configuration["scrape_configs"]
    (found_by,) = job.pop("dns_sd_configs")
    assert set(targets) <= set(found_by["names"])
    job["static_configs"] = [
        {"targets": [address], "labels": {"__meta_dns_name": name}} for name, address in targets.items()
    ]
    with PrometheusServer(tools, yaml.safe_dump(configuration), folder) as server:
        yield Prometheus(server.url)


def until(question: Any, expected: Any) -> None:
    """Ask until the answer is the expected one."""
    deadline = time.monotonic() + PATIENCE
    while (answer := question()) != expected and time.monotonic() < deadline:
        time.sleep(0.3)
    assert answer == expected


def test_prometheus_scrapes_every_process_and_sees_what_happened(cluster: Cluster, tmp_path: Path) -> None:
    ports = {name: free_port() for name in SERVICES}
    for name, port in ports.items():
        cluster.start(name, extra={"METRICS_PORT": str(port), "REPORT_INTERVAL": "1"})
    cluster.wait_until_ready("data_agent", "decision_agent")
    addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    with prometheus_over(addresses, tmp_path / "prometheus") as prometheus:
        until(prometheus.targets, dict.fromkeys(SERVICES, "up"))
        instances = 'max by (service) (conclave_service_instances{ready="true"})'
        until(lambda: prometheus.values(instances), dict.fromkeys(SERVICES, 1.0))
        until(prometheus.alerts, [])
        _run_executions(cluster)
        _check_what_it_counted(prometheus)
        _check_that_names_are_good(addresses)
        until(prometheus.alerts, [])  # of a scrape that a busy machine missed none stays
        rules = prometheus.rules()
        assert set(rules.values()) == {"ok"}
        assert len(rules) == (MONITORING / "alerts.yaml").read_text(encoding="utf-8").count("- alert:")

        cluster.terminate("registry")
        until(lambda: prometheus.targets()["registry"][:4], "down")
        gone = [("ConclaveProcessDown", ""), ("ConclaveServiceMissing", "registry")]
        until(lambda: [alert for alert in prometheus.alerts() if alert in gone], gone)


def _run_executions(cluster: Cluster) -> None:
    good = [cluster.start_execution(chain(3)) for _ in range(GOOD)]
    ended = cluster.wait_until_ended([*good, cluster.start_execution(BAD)])
    assert [execution["status"] for execution in ended] == ["completed"] * GOOD + ["failed"], ended[-1]


def _check_what_it_counted(prometheus: Prometheus) -> None:
    expected = {
        "sum(conclave_executions_started_total)": {"": GOOD + 1},
        "sum by (status) (conclave_executions_ended_total)": {"cancelled": 0, "completed": GOOD, "failed": 1},
        "sum by (status) (conclave_execution_duration_seconds_count)": {"cancelled": 0, "completed": GOOD, "failed": 1},
        "max(conclave_executions_open)": {"": 0},
        # Labels in the order of their names: action, agent_type, outcome.
        "sum by (agent_type, action, outcome) (conclave_agent_actions_total) > 0": {
            "process_data data_agent succeeded": 2 * GOOD,
            "query data_agent failed": 2,
            "make_decision decision_agent succeeded": GOOD,
        },
        "sum(conclave_steps_dispatched_total)": {"": 3 * GOOD + 2},
        "sum by (status) (conclave_steps_ended_total) > 0": {"succeeded": 3 * GOOD, "failed": 1},
        "sum by (action) (conclave_step_retries_total) > 0": {"query": 1},
        'sum(http_requests_total{handler="/api/v1/executions", method="POST", status="2xx"})': {"": GOOD + 1},
        "sum(conclave_messages_redelivered_total)": {"": 0},
        "sum(conclave_messages_in_hand)": {"": 0},
        'sum(conclave_messages_received_total{queue="dead-letters"}) or vector(0)': {"": 0},
        "count(conclave_bus_connected == 1)": {"": len(SERVICES)},
        "count by (job, namespace) (process_resident_memory_bytes)": {"conclave conclave": len(SERVICES)},
    }
    for expression, values in expected.items():
        until(lambda expression=expression: (expression, prometheus.values(expression)), (expression, values))


def _check_that_names_are_good(addresses: Mapping[str, str]) -> None:
    """As promtool judges what each process shows."""
    promtool = find_prometheus_tools().promtool
    for name, address in addresses.items():
        page = httpx.get(f"http://{address}/metrics", timeout=30).content
        done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), name
