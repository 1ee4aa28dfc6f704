"""The alert rules: Prometheus takes them, each fires when it should and not otherwise, and each says what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.dashboards import ROOT
from tests.support.promql import metrics_in

FOLDER = ROOT / "k8s" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
TESTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
BY_NAME = {rule["alert"]: rule for rule in RULES}
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LABEL = re.compile(r'(\w+)="')


def run(promtool: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True)


def fired_in(test: dict[str, Any]) -> list[str]:
    """The labels of what the test expects to fire, each as text."""
    return [sample["labels"] for check in test["promql_expr_test"] for sample in check["exp_samples"]]


def series_of(test: dict[str, Any]) -> list[str]:
    return [one["series"] for one in test["input_series"]]


def test_prometheus_takes_the_rules(promtool: Path) -> None:
    done = run(promtool, "check", "rules", "alerts.yaml")
    assert done.returncode == 0, done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


def test_every_alert_fires_when_it_should_and_not_otherwise(promtool: Path) -> None:
    done = run(promtool, "test", "rules", "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_do_find_a_rule_that_is_wrong(promtool: Path, tmp_path: Path) -> None:
    rules = (FOLDER / "alerts.yaml").read_text(encoding="utf-8")
    wrong = rules.replace('expr: up{job="conclave"} == 0', 'expr: up{job="conclave"} == 1')
    assert wrong != rules
    (tmp_path / "alerts.yaml").write_text(wrong, encoding="utf-8")
    of_it = [test for test in TESTS if test["name"] == "ConclaveProcessDown"]
    tests = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": of_it}
    (tmp_path / "alerts_test.yaml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", "alerts_test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ConclaveProcessDown" in done.stdout + done.stderr


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(RULES)
    assert len({test["name"] for test in TESTS}) == len(TESTS)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_alert_has_a_test_of_both_kinds(name: str) -> None:
    """Bad series that fire it, and good ones of the same metrics that do not."""
    tests = [test for test in TESTS if test["name"].partition(",")[0] == name]
    assert tests, f"alerts_test.yaml has none for {name}"
    for test in tests:
        fired = fired_in(test)
        assert fired, f"{test['name']} expects nothing to fire"
        assert all(f'alertname="{name}"' in labels and 'namespace="bad"' in labels for labels in fired)
        good = [series.partition("{")[0] for series in series_of(test) if 'namespace="good"' in series]
        assert metrics_in(BY_NAME[name]["expr"]) & set(good), f"{test['name']} has no good series of what it asks for"


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test["name"])
def test_what_a_test_expects_is_what_its_rule_gives(test: dict[str, Any]) -> None:
    rule = BY_NAME[test["name"].partition(",")[0]]
    for labels in fired_in(test):
        assert f'severity="{rule["labels"]["severity"]}"' in labels
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert used <= set(LABEL.findall(labels)), f"its text uses labels that it does not have: {used}"


@pytest.mark.parametrize("name", BY_NAME)
def test_an_alert_says_what_it_means_and_where_to_read_on(name: str) -> None:
    rule = BY_NAME[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"docs/operations.md#{name.lower()}"
    assert re.search(rf"^#+ {name}$", PAGE, re.MULTILINE), f"docs/operations.md has no section {name}"


def test_the_page_has_no_alert_that_is_not_there() -> None:
    assert set(re.findall(r"^#+ (Conclave\w+)$", PAGE, re.MULTILINE)) == set(BY_NAME)


def test_the_page_says_how_serious_each_alert_is() -> None:
    sections = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    said = {text.split("\n")[0]: text.split("\n")[2].split(".")[0] for text in sections if text.startswith("Conclave")}
    expected = {
        name: f"*{rule['labels']['severity']}{', after ' + rule['for'] if 'for' in rule else ''}*"
        for name, rule in BY_NAME.items()
    }
    assert said == expected
