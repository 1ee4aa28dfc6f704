"""prometheus.yml: Prometheus takes it, and it scrapes every service by its own name."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from scripts.dashboards import ROOT
from services.__main__ import service_names
from services.runtime.operations_settings import OperationsSettings

FOLDER = ROOT / "k8s" / "monitoring"


def configuration() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    return loaded


def test_prometheus_takes_the_configuration(promtool: Path) -> None:
    done = subprocess.run([promtool, "check", "config", "prometheus.yml"], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout


def test_every_service_is_scraped_by_its_name_on_the_default_port() -> None:
    (job,) = configuration()["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == service_names()
    assert found["port"] == OperationsSettings.model_fields["metrics_port"].default
    assert job["job_name"] == "conclave"


def test_targets_have_the_labels_that_alerts_and_dashboards_use() -> None:
    (job,) = configuration()["scrape_configs"]
    assert {rule["target_label"] for rule in job["relabel_configs"]} == {"app", "namespace"}
