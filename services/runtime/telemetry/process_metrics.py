"""What a process and its host use: CPU, memory, network, and how late the event loop is."""

import asyncio
import contextlib
import os
import time

import psutil
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from contracts.monitoring import SystemFigures

LAG_PERIOD = 0.25  # seconds between two looks at the clock of the event loop
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ProcessMetrics:
    """CPU seconds, memory and open files of the process come from prometheus_client; the rest is here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(_HostCollector())
        self._loop_lag = Histogram(
            "conclave_event_loop_lag_seconds",
            "How much later than asked for the event loop came round",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self._threads = Gauge("conclave_process_threads", "Threads of the process", registry=registry)

    def loop_was_late(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def threads(self, count: int) -> None:
        self._threads.set(count)


class _HostCollector(Collector):
    """Read when asked for."""

    def collect(self) -> "list[CounterMetricFamily | GaugeMetricFamily]":
        received = CounterMetricFamily("conclave_host_network_received_bytes", "Bytes that this host received")
        sent = CounterMetricFamily("conclave_host_network_sent_bytes", "Bytes that this host sent")
        with contextlib.suppress(OSError):
            figures = psutil.net_io_counters()
            if figures is not None:
                received.add_metric([], figures.bytes_recv)
                sent.add_metric([], figures.bytes_sent)
        memory = psutil.virtual_memory()
        total = GaugeMetricFamily("conclave_host_memory_bytes", "Memory of this host", value=memory.total)
        available = GaugeMetricFamily(
            "conclave_host_memory_available_bytes", "Memory of this host that is free for use", value=memory.available
        )
        seconds = CounterMetricFamily("conclave_host_cpu_busy_seconds", "Time that this host's processors were busy")
        times = psutil.cpu_times()
        seconds.add_metric([], times.user + times.system)
        return [received, sent, total, available, seconds]


class _Lags:
    """How late the event loop was, over a time. No list: where nothing is reported, nobody ever empties it."""

    __slots__ = ("count", "longest", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = self.longest = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds
        self.longest = max(self.longest, seconds)

    @property
    def mean(self) -> float:
        return self.sum / self.count if self.count else 0.0


class SystemWatch:
    """Looks at the event loop all the time, and at the process and its host when a report is due."""

    def __init__(self, metrics: ProcessMetrics) -> None:
        self._metrics = metrics
        self._process = psutil.Process(os.getpid())
        self._lags = _Lags()
        self._task: asyncio.Task[None] | None = None
        self._seen_at = time.monotonic()
        self._network = self._network_now()
        # The first answer of each is about no time at all.
        self._process.cpu_percent()
        psutil.cpu_percent()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._watch_loop(), name="event loop lag")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def figures(self) -> SystemFigures:
        """Since the last time it was asked."""
        now = time.monotonic()
        passed, self._seen_at = max(now - self._seen_at, 1e-3), now
        before, self._network = self._network, self._network_now()
        lags, self._lags = self._lags, _Lags()
        memory = psutil.virtual_memory()
        with self._process.oneshot():
            threads = self._process.num_threads()
            self._metrics.threads(threads)
            return SystemFigures(
                cpu=self._process.cpu_percent() / 100,
                memory=self._process.memory_info().rss,
                threads=threads,
                open_files=self._open_files(),
                loop_lag_mean=lags.mean,
                loop_lag_max=lags.longest,
                host_cpu=psutil.cpu_percent() / 100,
                host_memory_total=memory.total,
                host_memory_available=memory.available,
                network_received=(self._network[0] - before[0]) / passed,
                network_sent=(self._network[1] - before[1]) / passed,
            )

    def _open_files(self) -> int | None:
        try:
            return self._process.num_fds()
        except (AttributeError, psutil.Error):  # Windows has none
            return None

    @staticmethod
    def _network_now() -> tuple[int, int]:
        try:
            figures = psutil.net_io_counters()
        except OSError:
            return (0, 0)
        return (0, 0) if figures is None else (figures.bytes_recv, figures.bytes_sent)

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time() + LAG_PERIOD
            await asyncio.sleep(LAG_PERIOD)
            late = max(0.0, loop.time() - asked)
            self._lags.add(late)
            self._metrics.loop_was_late(late)
