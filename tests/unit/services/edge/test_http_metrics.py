"""What is counted of requests, and that no client can make up a label's value."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from services.edge.http_metrics import HttpMetrics, instrument


class Served:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.streaming = asyncio.Event()
        self.end = asyncio.Event()
        app = FastAPI()

        @app.get("/things/{thing_id}")
        async def thing(thing_id: str) -> str:
            if thing_id == "broken":
                raise RuntimeError("broken")
            return thing_id

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            return StreamingResponse(self.lines())

        @app.get("/health")
        @app.get("/health/ready")
        @app.get("/metrics")
        async def asked_by_machines() -> str:
            return "ok"

        instrument(app, HttpMetrics(self.registry))
        self.app = app

    async def lines(self) -> AsyncIterator[str]:
        yield "first\n"
        self.streaming.set()
        await self.end.wait()
        yield "last\n"

    async def ask(self, *paths: str, method: str = "GET") -> list[int]:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            return [(await client.request(method, path)).status_code for path in paths]

    def metrics(self) -> Iterator[Metric]:
        return iter(self.registry.collect())

    def counted(self) -> dict[tuple[str, str, str], float]:
        return {
            (sample.labels["method"], sample.labels["handler"], sample.labels["status"]): sample.value
            for metric in self.metrics()
            for sample in metric.samples
            if sample.name == "http_requests_total"
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def served() -> Served:
    return Served()


async def test_requests_are_counted_by_route_and_class_of_status(served: Served) -> None:
    assert await served.ask("/things/a", "/things/b", "/things/broken") == [200, 200, 500]
    assert served.counted() == {
        ("GET", "/things/{thing_id}", "2xx"): 2,
        ("GET", "/things/{thing_id}", "5xx"): 1,
    }
    assert served.value("http_request_duration_highr_seconds_count") == 3
    assert served.value("http_request_duration_seconds_count", method="GET", handler="/things/{thing_id}") == 3


async def test_what_clients_make_up_is_no_label(served: Served) -> None:
    for i in range(20):
        await served.ask(f"/nothing/{i}", f"/things/{i}/", f"/things/{i}/{i}")
        await served.ask("/things/a", method=f"BREW{i}")
    labels = {
        tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        for metric in served.metrics()
        for sample in metric.samples
    }
    assert served.counted() == {
        ("GET", "none", "3xx"): 20,
        ("GET", "none", "4xx"): 40,
        ("other", "/things/{thing_id}", "4xx"): 20,
    }
    values = {value for one in labels for _, value in one}
    assert values == {"GET", "other", "none", "/things/{thing_id}", "3xx", "4xx"}


async def test_machines_that_ask_all_the_time_are_not_counted(served: Served) -> None:
    assert await served.ask("/health", "/health/ready", "/metrics") == [200, 200, 200]
    assert served.counted() == {}
    await served.ask("/healthy")
    assert served.counted() == {("GET", "none", "4xx"): 1}


async def test_a_stream_is_timed_until_it_begins_and_is_in_progress_until_it_ends(served: Served) -> None:
    asked_at = time.perf_counter()
    asked = asyncio.create_task(served.ask("/stream"))
    await served.streaming.wait()
    until_it_began = time.perf_counter() - asked_at
    assert served.value("http_requests_in_progress") == 1
    await asyncio.sleep(0.02)
    served.end.set()
    assert await asked == [200]
    assert served.value("http_requests_in_progress") == 0
    took = served.value("http_request_duration_highr_seconds_sum")
    assert took is not None
    assert 0 < took < until_it_began


async def test_what_is_never_answered_from_within_takes_its_time_all_the_same(served: Served) -> None:
    await served.ask("/things/broken")
    took = served.value("http_request_duration_highr_seconds_sum")
    assert took is not None
    assert took > 0


def test_nothing_is_counted_twice_into_one_registry(served: Served) -> None:
    with pytest.raises(ValueError, match="by somebody else"):
        HttpMetrics(served.registry)
