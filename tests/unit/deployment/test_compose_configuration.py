"""What docker-compose.yml mounts for RabbitMQ, the balancer, Prometheus and Grafana fits the rest."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.workflow import StepDefinition
from scripts.deployed_services import API_PORT, METRICS_PORT, deployed_services
from services.edge import system
from services.edge.waiting import LONGEST_WAIT
from tests.support.compose_file import ROOT, SECRETS, in_bytes, mounts, services

RABBITMQ = ROOT / "compose" / "rabbitmq" / "90-conclave.conf"
HAPROXY = ROOT / "compose" / "haproxy" / "haproxy.cfg"
GRAFANA = ROOT / "compose" / "grafana"
MONITORING = ROOT / "k8s" / "monitoring"


def rabbitmq() -> dict[str, str]:
    lines = [line for line in RABBITMQ.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# ---- RabbitMQ


def test_rabbitmq_reads_our_file_last_and_boots_with_the_definitions() -> None:
    place = mounts(services()["rabbitmq"])
    assert place["/etc/rabbitmq/conf.d/90-conclave.conf"] == ("./compose/rabbitmq/90-conclave.conf", "ro")
    assert rabbitmq()["load_definitions"] == f"{SECRETS}/definitions.json"
    assert "default_user" not in rabbitmq()


def test_rabbitmq_waits_for_an_ack_longer_than_a_step_may_take() -> None:
    (limit,) = [one.le for one in StepDefinition.model_fields["timeout"].metadata if hasattr(one, "le")]
    assert int(rabbitmq()["consumer_timeout"]) > limit * 1000


def test_servers_stop_taking_more_before_their_memory_is_used_up() -> None:
    watermark = in_bytes(rabbitmq()["vm_memory_high_watermark.absolute"])
    assert watermark < 0.7 * in_bytes(services()["rabbitmq"]["mem_limit"])
    redis = services()["redis"]
    most = in_bytes(redis["command"][redis["command"].index("--maxmemory") + 1])
    assert most < 0.7 * in_bytes(redis["mem_limit"])
    assert redis["command"][redis["command"].index("--maxmemory-policy") + 1] == "noeviction"
    assert redis["command"][redis["command"].index("--appendonly") + 1] == "yes"


# ---- the balancer


def test_the_balancer_finds_every_edge_and_asks_each_whether_it_is_ready() -> None:
    text = HAPROXY.read_text(encoding="utf-8")
    assert re.search(rf"^\s+server-template edge \d+ edge:{API_PORT} check ", text, re.MULTILINE)
    assert f"bind :{API_PORT}\n" in text
    (path,) = re.findall(r"^\s+option httpchk GET (\S+)$", text, re.MULTILINE)
    assert path in {route.path for route in system.router.routes}
    folder, mode = mounts(services()["balancer"])["/etc/conclave"]
    assert (ROOT / folder, mode) == (HAPROXY.parent, "ro")
    assert services()["balancer"]["command"] == ["haproxy", "-f", f"/etc/conclave/{HAPROXY.name}"]


def test_the_balancer_waits_for_answers_as_long_as_the_api_lets_a_request_wait() -> None:
    found = re.findall(r"^\s+timeout (client|server) (\d+)s$", HAPROXY.read_text(encoding="utf-8"), re.MULTILINE)
    assert {side: int(seconds) > LONGEST_WAIT for side, seconds in found} == {"client": True, "server": True}


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="not run: no haproxy on the PATH")
def test_haproxy_takes_the_configuration() -> None:
    done = subprocess.run(["haproxy", "-c", "-f", str(HAPROXY)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


# ---- Prometheus and Grafana


def test_prometheus_has_its_configuration_and_the_alerts_as_they_are() -> None:
    folder, mode = mounts(services()["prometheus"])["/etc/prometheus"]
    assert (ROOT / folder, mode) == (MONITORING, "ro")
    assert "--config.file=/etc/prometheus/prometheus.yml" in services()["prometheus"]["command"]
    configuration = loaded(MONITORING / "prometheus.yml")
    assert [(MONITORING / name).is_file() for name in configuration["rule_files"]] == [True]
    (job,) = configuration["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == deployed_services().keys()
    assert found["port"] == METRICS_PORT


def test_grafana_is_given_the_data_source_that_the_dashboards_ask_for() -> None:
    """By the documented form of the files; no Grafana runs here."""
    given = loaded(GRAFANA / "datasources" / "prometheus.yaml")
    assert given["apiVersion"] == 1
    (source,) = given["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["access"] == "proxy"
    assert source["isDefault"] is True
    assert source["jsonData"]["timeInterval"] == loaded(MONITORING / "prometheus.yml")["global"]["scrape_interval"]
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        asked = [one for one in json.loads(path.read_text())["templating"]["list"] if one["type"] == "datasource"]
        assert [one["query"] for one in asked] == [source["type"]], path.name


def test_grafana_reads_the_dashboards_from_where_they_are_mounted() -> None:
    given = loaded(GRAFANA / "dashboards" / "conclave.yaml")
    assert given["apiVersion"] == 1
    (provider,) = given["providers"]
    assert provider["type"] == "file"
    place = mounts(services()["grafana"])
    folder, mode = place[provider["options"]["path"]]
    assert (ROOT / folder, mode) == (MONITORING / "dashboards", "ro")
    assert list((ROOT / folder).glob("*.json"))
    for kind in ("datasources", "dashboards"):
        assert place[f"/etc/grafana/provisioning/{kind}"] == (f"./compose/grafana/{kind}", "ro")
        assert {path.suffix for path in (GRAFANA / kind).iterdir()} == {".yaml"}


def test_grafana_lets_everybody_look_and_nobody_in() -> None:
    environment = services()["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]
