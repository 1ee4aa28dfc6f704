"""Fixtures of the tests of dashboards, alerts and what is written about them."""

from pathlib import Path

import pytest

from scripts.prometheus_tools import find_prometheus_tools
from tests.conftest import found_or_not_run, in_ci


@pytest.fixture(scope="session")
def promtool() -> Path:
    return found_or_not_run(lambda: find_prometheus_tools(download=in_ci())).promtool
