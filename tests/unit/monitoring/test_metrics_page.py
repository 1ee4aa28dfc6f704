"""docs/metrics.md lists every metric there is, as it is."""

import re
from pathlib import Path

import pytest

from services.runtime.telemetry.agent_metrics import ActionOutcome, MailOutcome
from services.runtime.telemetry.message_metrics import ACKED, DEAD_LETTERED, RETURNED
from tests.support.metrics_of_the_code import MetricOfCode, all_metrics

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*)\| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
ROWS = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), unit) for name, kind, labels, unit in ROW.findall(PAGE)}
METRICS = all_metrics()


def test_the_page_lists_every_metric_and_no_other() -> None:
    assert set(ROWS) == set(METRICS)
    assert len(ROW.findall(PAGE)) == len(ROWS), "one is listed twice"


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_is_described_as_it_is(metric: MetricOfCode) -> None:
    kind, labels, unit = ROWS[metric.name]
    assert (kind, labels) == (metric.kind, metric.labels)
    for ending in ("seconds", "bytes"):
        assert (unit == ending) is metric.name.removesuffix("_total").endswith(f"_{ending}")


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_recommends(metric: MetricOfCode) -> None:
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    assert not metric.name.endswith(("_milliseconds", "_ms", "_kilobytes", "_mb", "_percent", "_bucket", "_sum"))
    assert metric.says


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_no_label_is_an_id(metric: MetricOfCode) -> None:
    explained = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE))
    known = {name for names in explained for name in re.findall(r"`(\w+)`", names)}
    of_libraries = {"app_name", "broker", "handler", "destination", "exception_type", "method", "generation"}
    assert set(metric.labels) <= known | of_libraries | {"severity", "ready", "available"}
    assert not [label for label in metric.labels if label.endswith("_id") or label == "id"]


def test_the_outcomes_are_those_of_the_code() -> None:
    for outcomes in ({ACKED, RETURNED, DEAD_LETTERED}, set(ActionOutcome), set(MailOutcome)):
        assert any(outcomes == set(re.findall(r"`([a-z_]+)`", row)) for row in _rows_of_outcomes()), outcomes


def _rows_of_outcomes() -> list[str]:
    lines = PAGE.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| `outcome` |"))
    return [line.rpartition(":")[2] for line in lines[begin : begin + 3]]
