"""What a process says of itself: how late its event loop was."""

import asyncio
import gc

import pytest
from prometheus_client import CollectorRegistry

from services.runtime.telemetry import process_metrics
from services.runtime.telemetry.process_metrics import ProcessMetrics, SystemWatch


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.setattr(process_metrics, "LAG_PERIOD", 0.001)
    return CollectorRegistry()


async def looks_at_the_clock(registry: CollectorRegistry, most: int) -> None:
    while (registry.get_sample_value("conclave_event_loop_lag_seconds_count") or 0) < most:
        await asyncio.sleep(0.005)


async def test_the_figures_are_of_the_time_since_they_were_asked_for(registry: CollectorRegistry) -> None:
    watch = SystemWatch(ProcessMetrics(registry))
    await watch.start()
    await looks_at_the_clock(registry, 20)
    await watch.stop()
    figures = watch.figures()
    assert 0 < figures.loop_lag_mean < figures.loop_lag_max
    again = watch.figures()
    assert (again.loop_lag_mean, again.loop_lag_max) == (0, 0)


async def test_it_keeps_no_more_the_longer_nobody_asks(registry: CollectorRegistry) -> None:
    """As where METRICS_ENABLED is false, or the broker is away."""
    watch = SystemWatch(ProcessMetrics(registry))

    await watch.start()
    await looks_at_the_clock(registry, 100)
    await watch.stop()
    held = gc.get_referents(watch)
    held += gc.get_referents(*held)
    assert max((len(one) for one in held if isinstance(one, list)), default=0) < 100
