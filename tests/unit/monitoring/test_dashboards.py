"""The Grafana dashboards: as Grafana wants them, with expressions that Prometheus reads and metrics that there are."""

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from scripts import dashboards
from tests.support.metrics_of_the_code import all_metrics, metrics_of_the_code
from tests.support.promql import family_of, labels_in, metrics_in, without_variables

HERE = Path(__file__).parent
PATHS = sorted(dashboards.DASHBOARDS.glob("*.json"))
SCHEMA = json.loads((HERE / "grafana_dashboard.schema.json").read_text(encoding="utf-8"))
ALERTS = dashboards.DASHBOARDS.parent / "alerts.yaml"

OF_THE_SCRAPE = {"namespace", "job", "instance", "app"}  # labels that Prometheus adds
OF_PROMETHEUS = {"up"}


def content(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def expressions(path: Path) -> Iterator[str]:
    for panel in content(path)["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def expressions_of_alerts() -> list[str]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_there_are_the_dashboards_that_the_page_names() -> None:
    assert [path.stem for path in PATHS] == ["agents", "messages", "orchestrator", "overview", "processes"]
    page = (dashboards.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [path.name for path in PATHS if f"`{path.stem}`" not in page] == []


def test_dashboards_are_what_their_panels_give() -> None:
    assert dashboards.main(["--check"]) == 0


def test_a_dashboard_that_is_stale_or_left_over_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboards, "ROOT", tmp_path)
    monkeypatch.setattr(dashboards, "DASHBOARDS", tmp_path)
    (tmp_path / "agents.json").write_text("{}")
    (tmp_path / "gone.json").write_text("{}")
    assert dashboards.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "agents.json is not what" in said
    assert "gone.json is not what" in said
    assert dashboards.main([]) == 0
    assert dashboards.main(["--check"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in PATHS]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_dashboard_is_as_grafana_wants_it(path: Path) -> None:
    faults = [
        f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(SCHEMA).iter_errors(content(path))
    ]
    assert faults == []


def test_the_schema_finds_what_is_wrong() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    wrong = content(PATHS[0])
    panel = next(panel for panel in wrong["panels"] if panel["type"] != "row")
    panel["gridPos"]["w"] = 25
    panel["fieldConfig"]["defaults"]["unit"] = "parsecs"
    panel["targets"][0]["query"] = panel["targets"][0].pop("expr")
    panel["options"]["legend"]["placement"] = "above"
    del wrong["uid"]
    faults = {fault.validator for fault in Draft202012Validator(SCHEMA).iter_errors(wrong)}
    assert faults == {"maximum", "enum", "required", "additionalProperties"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_panels_have_places_of_their_own(path: Path) -> None:
    panels = content(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= dashboards.FULL_WIDTH for panel in panels)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_titles_and_legends_tell_things_apart(path: Path) -> None:
    panels = [panel for panel in content(path)["panels"] if panel["type"] != "row"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_uids_are_unique_and_every_panel_heeds_the_choices() -> None:
    uids = [content(path)["uid"] for path in PATHS]
    assert len(set(uids)) == len(uids)
    for path in PATHS:
        names = [variable["name"] for variable in content(path)["templating"]["list"]]
        assert names == ["datasource", "namespace", "job", "instance"]
        for expression in expressions(path):
            selected = expression.count("{")
            assert expression.count(dashboards.WHERE) == selected, expression


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_prometheus_reads_every_expression(path: Path, promtool: Path, tmp_path: Path) -> None:
    """As recording rules: promtool parses nothing else."""
    found = [without_variables(expression) for expression in expressions(path)]
    rules = [{"record": f"checked:{place}", "expr": expression} for place, expression in enumerate(found)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(found)} rules found" in done.stdout


def test_promtool_does_find_an_expression_that_is_none(promtool: Path, tmp_path: Path) -> None:
    rules = [{"record": "checked:0", "expr": "rate(conclave_executions_started_total)"}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "expected type range vector" in done.stderr


def shown() -> dict[str, list[str]]:
    """Where -> the expressions there."""
    return {**{path.stem: list(expressions(path)) for path in PATHS}, "alerts": expressions_of_alerts()}


@pytest.mark.parametrize("where", sorted(shown()))
def test_every_metric_that_is_shown_exists(where: str) -> None:
    families = {*all_metrics(), *OF_PROMETHEUS}
    for expression in shown()[where]:
        unknown = [name for name in metrics_in(expression) if family_of(name, families) is None]
        assert not unknown, f"{where}: {expression} names {unknown}, which nothing makes"


@pytest.mark.parametrize("where", sorted(shown()))
def test_every_label_that_is_used_exists(where: str) -> None:
    known = all_metrics()
    for expression in shown()[where]:
        named = [family_of(name, set(known)) for name in metrics_in(expression)]
        there = {label for name in named if name for label in known[name].labels} | OF_THE_SCRAPE | {"le"}
        assert labels_in(expression) <= there, f"{where}: {expression} uses {labels_in(expression) - there}"


def test_a_histograms_samples_are_asked_for_by_their_own_names() -> None:
    known = all_metrics()
    for where, found in shown().items():
        for expression in found:
            bare = [name for name in metrics_in(expression) if name in known and known[name].kind == "histogram"]
            assert not bare, f"{where}: {expression} asks for {bare}, which has only _bucket, _sum and _count"


def test_every_metric_of_ours_is_shown_somewhere() -> None:
    ours = set(metrics_of_the_code())
    named = {name for found in shown().values() for expression in found for name in metrics_in(expression)}
    seen = {family_of(name, ours) for name in named}
    assert {name for name in ours - seen if name.startswith("conclave_")} == set()
