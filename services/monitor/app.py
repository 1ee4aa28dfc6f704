"""The monitor: hears how every process does and how executions end, looks at queues and store, and answers how it all
does. Its table; each replica hears everything, so any of them answers."""

import asyncio

from faststream import FastStream

from contracts import topology
from contracts.envelope import new_id
from contracts.execution import ExecutionCancelled, ExecutionCompleted, ExecutionFailed
from contracts.monitoring import DescribeMonitoring, ProcessReported
from services.monitor.answering import Answering
from services.monitor.ending_rates import EndingRates
from services.monitor.hearing import Hearing
from services.monitor.pace import Pace
from services.monitor.reports import Reports
from services.monitor.store_watch import StoreWatch
from services.monitor.watching import Watch
from services.monitor.windows import Windows
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.service import Route, Service
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from services.runtime.telemetry.health import store_answers
from services.runtime.telemetry.monitor_metrics import MonitorMetrics
from services.runtime.telemetry.telemetry import Telemetry

NAME = "monitor"


def build(
    settings: Settings,
    bus: Bus,
    store: Store | None = None,
    *,
    telemetry: Telemetry | None = None,
    pace: Pace | None = None,
) -> Service:
    """``pace``: how often it looks, and how patient it is."""
    store = store or open_store(settings)
    telemetry = telemetry or Telemetry()
    pace = pace or Pace()
    open_limit = settings.max_open_executions
    windows = Windows()
    reports = Reports(windows)
    listening = asyncio.Event()
    rates = EndingRates(pace.recent, pace.usual)
    watch = Watch(
        bus,
        StoreWatch(store, pace, open_limit=open_limit),
        reports,
        windows,
        rates,
        telemetry.metrics(MonitorMetrics),
        pace,
        open_limit=open_limit,
        listening=listening,
    )
    hearing = Hearing(reports, rates)
    answering = Answering(watch, reports, windows, rates, open_limit=open_limit)
    table = Route(topology.monitor_queue(), handlers={DescribeMonitoring: answering.describe})
    feed = Route(
        topology.monitor_feed(new_id()),
        handlers={
            ProcessReported: hearing.reported,
            ExecutionCompleted: hearing.ended,
            ExecutionFailed: hearing.ended,
            ExecutionCancelled: hearing.ended,
        },
        prefetch=200,
    )
    return Service(
        NAME,
        bus,
        routes=[table, feed],
        resources=[store, watch],
        listening=listening,
        needs={"store": store_answers(store)},
    )


def app() -> FastStream:
    """``faststream run services.monitor.app:app --factory``"""
    return configured_app(NAME, build)
