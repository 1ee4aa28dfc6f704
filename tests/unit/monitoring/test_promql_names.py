"""What the tests of dashboards and alerts take for a metric and a label."""

import pytest

from tests.support.promql import family_of, labels_in, metrics_in

EXPRESSIONS = [
    ("up", {"up"}, set()),
    ('sum by (a, b) (rate(x_total{c="d{e}", f!~"g"}[5m]))', {"x_total"}, {"a", "b", "c", "f"}),
    ("histogram_quantile(0.95, sum by (le) (rate(y_bucket[1h] offset 1d))) > 1e3", {"y_bucket"}, {"le"}),
    ("a unless on (job) b == bool 1 or c * on(x) group_left (y) d", {"a", "b", "c", "d"}, {"job", "x", "y"}),
    ('sum(z{queue=~"a|b"}) without (job) and absent(w) > +Inf', {"z", "w"}, {"queue", "job"}),
    ("vector(1) * time()", set(), set()),
]


@pytest.mark.parametrize(("expression", "metrics", "labels"), EXPRESSIONS)
def test_what_an_expression_names(expression: str, metrics: set[str], labels: set[str]) -> None:
    assert metrics_in(expression) == metrics
    assert labels_in(expression) == labels


def test_a_sample_belongs_to_its_metric() -> None:
    families = {"x_total", "y_seconds", "z_count"}
    assert family_of("x_total", families) == "x_total"
    assert [family_of(f"y_seconds_{end}", families) for end in ("bucket", "sum", "count")] == ["y_seconds"] * 3
    assert family_of("z_count", families) == "z_count"
    assert family_of("w_total", families) is None
