"""Prometheus and Grafana on Kubernetes: the same targets' labels, alerts and dashboards as k8s/monitoring has."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import prometheus_rule
from scripts.deployed_services import deployed_services
from scripts.prometheus_tools import find_prometheus_tools
from tests.conftest import found_or_not_run, in_ci
from tests.support.deployment_secrets_made import secrets_for
from tests.support.kustomize import K8S, Object, containers, named, objects_of, of_kind, pod_template
from tests.support.network_arrows import matches

SNAKE = {
    "sourceLabels": "source_labels",
    "targetLabel": "target_label",
    "regex": "regex",
    "replacement": "replacement",
    "action": "action",
}


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return objects_of("prod")


@pytest.fixture(scope="session")
def promtool() -> Path:
    return found_or_not_run(lambda: find_prometheus_tools(download=in_ci())).promtool


def endpoint_of(objects: list[Object], name: str) -> dict[str, Any]:
    (endpoint,) = named(objects, "ServiceMonitor", name)["spec"]["endpoints"]
    found: dict[str, Any] = endpoint
    return found


def test_one_service_finds_the_operations_port_of_every_pod(objects: list[Object]) -> None:
    service = named(objects, "Service", "conclave-metrics")
    (port,) = service["spec"]["ports"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    selected = {}
    for one in of_kind(objects, "Deployment"):
        template = pod_template(one)
        assert template is not None
        assert matches({"matchLabels": service["spec"]["selector"]}, template["metadata"]["labels"])
        (container,) = containers(template)
        selected[one["metadata"]["name"]] = [
            open_one["containerPort"] for open_one in container["ports"] if open_one["name"] == port["targetPort"]
        ]
    assert selected == {one.label: [one.ports["metrics"]] for one in deployed_services().values()}


def test_its_monitor_selects_it_alone(objects: list[Object]) -> None:
    selector = named(objects, "ServiceMonitor", "conclave")["spec"]["selector"]
    services = [one for one in of_kind(objects, "Service") if matches(selector, one["metadata"]["labels"])]
    assert [one["metadata"]["name"] for one in services] == ["conclave-metrics"]
    endpoint = endpoint_of(objects, "conclave")
    assert [one["name"] for one in services[0]["spec"]["ports"]] == [endpoint["port"]]
    assert endpoint["path"] == "/metrics"


def test_targets_have_the_labels_that_alerts_and_dashboards_use(
    objects: list[Object], promtool: Path, tmp_path: Path
) -> None:
    """Prometheus itself relabels what the operator would find, after the operator's own rules (its documentation:
    ``job`` and ``service`` are the Service's name, ``namespace`` and ``pod`` the pod's)."""
    services = list(deployed_services().values())
    found = [
        {
            "targets": [f"10.0.0.{number}:9090"],
            "labels": {
                "__meta_kubernetes_namespace": "conclave",
                "__meta_kubernetes_pod_label_app_kubernetes_io_name": one.label,
                "__meta_kubernetes_pod_name": f"{one.label}-x",
                "__meta_kubernetes_service_name": "conclave-metrics",
            },
        }
        for number, one in enumerate(services, 1)
    ]
    (tmp_path / "pods.json").write_text(json.dumps(found))
    of_the_operator = [
        {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
        for source, target in (
            ("namespace", "namespace"),
            ("service_name", "service"),
            ("pod_name", "pod"),
            ("service_name", "job"),
        )
    ]
    ours = [
        {SNAKE[key]: value for key, value in rule.items()} for rule in endpoint_of(objects, "conclave")["relabelings"]
    ]
    job = {
        "job_name": "under-test",
        "file_sd_configs": [{"files": ["pods.json"]}],
        "relabel_configs": [*of_the_operator, *ours],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    command = [promtool, "check", "service-discovery", "--timeout=2s", "prometheus.yml", "under-test"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    labels = [one["labels"] for one in json.loads(done.stdout)]
    assert {one["app"]: one["instance"] for one in labels} == {
        one.name: f"10.0.0.{number}:9090" for number, one in enumerate(services, 1)
    }
    assert {(one["job"], one["namespace"]) for one in labels} == {("conclave", "conclave")}
    # A figure's own label of that name says which service it is of.
    assert [one for one in labels if "service" in one] == []


def test_rabbitmqs_figures_are_asked_for_over_tls(objects: list[Object], tmp_path: Path) -> None:
    made = secrets_for("prod", tmp_path)
    cluster = named(objects, "RabbitmqCluster", "rabbitmq")
    endpoint = endpoint_of(objects, "rabbitmq")
    assert (endpoint["port"], endpoint["scheme"]) == ("prometheus-tls", "https")
    tls = endpoint["tlsConfig"]
    assert made[tls["ca"]["secret"]["name"]][tls["ca"]["secret"]["key"]]
    assert tls["serverName"] == f"{cluster['metadata']['name']}.{cluster['metadata']['namespace']}.svc"
    made_by_the_operator = {"app.kubernetes.io/name": "rabbitmq", "app.kubernetes.io/component": "rabbitmq"}
    assert matches(named(objects, "ServiceMonitor", "rabbitmq")["spec"]["selector"], made_by_the_operator)


def test_the_alerts_are_those_of_prometheus_yml(objects: list[Object]) -> None:
    alerts = yaml.safe_load((K8S / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))
    assert named(objects, "PrometheusRule", "conclave")["spec"] == alerts
    assert prometheus_rule.RULE.read_text(encoding="utf-8") == prometheus_rule.rule()
    assert prometheus_rule.main(["--check"]) == 0


def test_an_alert_that_changes_makes_the_rule_stale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = prometheus_rule.ALERTS.read_text(encoding="utf-8").replace("for: 1m", "for: 3m")
    (tmp_path / "alerts.yaml").write_text(changed, encoding="utf-8")
    monkeypatch.setattr(prometheus_rule, "ALERTS", tmp_path / "alerts.yaml")
    assert prometheus_rule.main(["--check"]) == 1
    assert "components/monitoring/alerts.yaml is not what" in capsys.readouterr().err


def test_grafana_finds_every_dashboard(objects: list[Object]) -> None:
    found = [one for one in of_kind(objects, "ConfigMap") if one["metadata"].get("labels", {}).get("grafana_dashboard")]
    dashboards = {name: text for one in found for name, text in one["data"].items()}
    files = sorted((K8S / "monitoring" / "dashboards").glob("*.json"))
    assert dashboards == {path.name: path.read_text(encoding="utf-8") for path in files}
    assert {one["metadata"]["labels"]["grafana_dashboard"] for one in found} == {"1"}
    # Not a new name for each content: `kubectl apply` leaves the old ConfigMap there, whose files have the same names.
    assert [one["metadata"]["name"] for one in found] == ["dashboards"]
    # What `kubectl apply` notes beside an object has to fit into 256 KiB.
    assert max(len(json.dumps(one)) for one in found) < 250_000
