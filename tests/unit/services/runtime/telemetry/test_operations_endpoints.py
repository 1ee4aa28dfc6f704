"""What the operations port answers to askers of all kinds."""

import pytest
from prometheus_client import CollectorRegistry

from services.runtime.telemetry.endpoints import metrics_page


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
        ("application/openmetrics-text; version=one", "text/plain"),
        ("text/plain; version=x.y", "text/plain"),
        ("application/openmetrics-text;version", "application/openmetrics-text"),
    ],
)
def test_metrics_are_had_whatever_somebody_accepts(accept: str, expected: str) -> None:
    status, content_type, _ = metrics_page(CollectorRegistry(), accept)
    assert status == 200
    assert content_type.split(";")[0] == expected
