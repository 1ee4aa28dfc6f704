"""What a report, a question to the monitor and its answer must be."""

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.envelope import envelope_of, wrap
from contracts.execution import ExecutionFailed
from contracts.monitoring import WINDOWS, CheckResult, DescribeMonitoring, MetricFamily, ProcessReported, ViewName
from contracts.monitoring_views import MetricsView, MonitoringDescribed, SystemView
from tests.support.process_reports import report

SYSTEM = SystemView(at=2.0, since=1.0)


@pytest.mark.parametrize(
    ("family", "fault"),
    [
        ({"kind": "counter", "series": [[[], [1, 2]]]}, "1 figures"),
        ({"kind": "counter", "labels": ["kind"], "series": [[["a", "b"], [1]]]}, "has 2 labels and 1 figures"),
        ({"kind": "histogram", "bounds": [1, 2], "series": [[[], [1, 2, 3]]]}, "2 bounds has 4 figures"),
        ({"kind": "histogram", "bounds": [2, 1], "series": []}, "bounds must rise"),
        ({"kind": "histogram", "bounds": [1, 1], "series": []}, "bounds must rise"),
        ({"kind": "gauge", "series": [[[], [1e300]]]}, "less than or equal to 1000000000000000000"),
        ({"kind": "gauge", "series": [[[], ["nan"]]]}, "finite number"),
        ({"kind": "counter", "series": [[[], [-1]]]}, "less than nothing"),
        ({"kind": "histogram", "bounds": [1, 2], "series": [[[], [1, -2, 3, 4]]]}, "less than nothing"),
        ({"kind": "histogram", "bounds": ["nan"], "series": []}, "finite number"),
        ({"kind": "counter", "labels": ["kind"], "series": [[["x" * 301], [1]]]}, "at most 300 characters"),
        ({"kind": "summary", "series": []}, "'counter', 'gauge' or 'histogram'"),
    ],
)
def test_irregular_families_are_refused(family: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        MetricFamily.model_validate({"name": "m", **family})


def test_what_may_be_below_zero() -> None:
    for kind, bounds, figures in (("gauge", [], [-1.0]), ("histogram", [1.0], [2.0, 0.0, -3.0])):
        family = {"name": "m", "kind": kind, "bounds": bounds, "series": [[[], figures]]}
        assert MetricFamily.model_validate(family).series == (((), tuple(figures)),)


@pytest.mark.parametrize(
    "said",
    [
        {"at": float("nan")},
        {"started_at": float("inf")},
        {"host": "h" * 301},
        {"system": {"cpu": float("inf")}},
        {"system": {"memory": 10**30}},
        {"services": [{"service": f"s{i}"} for i in range(51)]},
    ],
)
def test_a_report_of_what_cannot_be_shown_or_kept_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProcessReported.model_validate({**report().model_dump(), **said})


def test_of_a_long_fault_the_beginning_is_said() -> None:
    assert CheckResult(name="store", fault="x" * 5_000).fault == "x" * 1_000


@pytest.mark.parametrize("moment", ["started_at", "ended_at"])
def test_an_execution_ends_at_some_time(moment: str) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        ExecutionFailed.model_validate({"execution_id": "e", "workflow_name": "w", moment: float("nan")})


def test_views_and_windows_that_may_be_asked_for() -> None:
    for window in (None, *WINDOWS):
        assert DescribeMonitoring(view=ViewName.METRICS, window=window).address().key == "monitoring.describe"
    with pytest.raises(ValidationError, match=r"window 61: expected one of 60, 300, 900, 3600 \(seconds\)"):
        DescribeMonitoring(view=ViewName.METRICS, window=61)


def test_an_answer_has_the_view_that_it_says_and_no_other() -> None:
    sent = wrap(MonitoringDescribed(view=ViewName.SYSTEM, system=SYSTEM), sender="monitor").model_dump_json()
    assert envelope_of(MonitoringDescribed).model_validate_json(sent).payload.system == SYSTEM
    with pytest.raises(ValidationError, match="expected the view metrics alone, found system"):
        MonitoringDescribed(view=ViewName.METRICS, system=SYSTEM)
    with pytest.raises(ValidationError, match="expected the view health alone, found none"):
        MonitoringDescribed(view=ViewName.HEALTH)
    both = MetricsView(at=2.0, since=1.0, processes=0, windows=())
    with pytest.raises(ValidationError, match="found metrics, system"):
        MonitoringDescribed(view=ViewName.METRICS, metrics=both, system=SYSTEM)


def test_a_report_is_an_event() -> None:
    assert report().address().key == "process.reported"
    assert not report().address().must_arrive
