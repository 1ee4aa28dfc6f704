"""What the view of metrics shows, against what the real metrics were told, all the way through real reports."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from prometheus_client import CollectorRegistry

from contracts.history import ExecutionStatus, StepStatus
from contracts.monitoring import MetricFamily, MetricKind
from contracts.monitoring_views import MetricsView, Spread, WindowFigures
from contracts.topology import Exchange
from services.edge.http_metrics import HttpMetrics, instrument
from services.monitor import figures
from services.monitor.figures import MOST_LISTED, figures_of
from services.monitor.reports import Reports
from services.monitor.windows import Windows
from services.runtime.telemetry.agent_metrics import ActionOutcome, AgentMetrics, MailOutcome
from services.runtime.telemetry.message_metrics import ACKED, DEAD_LETTERED, MessageMetrics
from services.runtime.telemetry.telemetry import Telemetry
from services.runtime.telemetry.workflow_metrics import (
    DISPATCHED,
    RESENT,
    RETRIED,
    TIMED_OUT,
    WorkflowMetrics,
)
from tests.support.process_reports import Clock, report, report_of


class World:
    """A monitor, and two processes that report to it."""

    def __init__(self) -> None:
        self.clock, self.wall = Clock(), Clock(1_000.0)
        self.windows = Windows(self.clock)
        self.reports = Reports(self.windows, self.clock, self.wall)
        self.one, self.two = Telemetry(), Telemetry()
        self.number = 0

    def report(self) -> None:
        self.number += 1
        for telemetry in (self.one, self.two):
            assert self.reports.hear(report_of(telemetry.registry, telemetry.instance, self.number))

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.wall.now += seconds

    def view(self, window: int | None = None) -> MetricsView:
        return figures_of(self.reports, self.windows, window, self.wall)

    def minute(self) -> WindowFigures:
        return self.view(60).windows[0]


@pytest.fixture
def world() -> World:
    return World()


def test_executions(world: World) -> None:
    one, two = world.one.metrics(WorkflowMetrics), world.two.metrics(WorkflowMetrics)
    for metrics in (one, two):
        metrics.admission(lambda: 7, lambda: 2)
        for _ in range(5):
            metrics.started()
    for _ in range(3):
        one.ended(ExecutionStatus.COMPLETED, 0.2)
    two.ended(ExecutionStatus.FAILED, 4.0)
    one.start_refused("busy")
    two.late_results(6)
    world.passes(20)
    world.report()
    found = world.minute().executions
    assert (found.started, found.started_per_second) == (10, 10 / 20)
    assert (found.ended, found.ended_per_second) == ({"completed": 3, "failed": 1}, 4 / 20)
    assert (found.starts_refused, found.late_results) == ({"busy": 1}, 6)
    assert (found.open, found.starts_waiting) == (7, 4), "each counts all that are open, and its own that wait"
    # Three in (0.1, 0.25], one in (2.5, 5].
    assert found.duration.count == 4
    assert found.duration.mean == pytest.approx(4.6 / 4)
    assert found.duration.p50 == pytest.approx(0.1 + 0.15 * 2 / 3)
    assert found.duration.p90 == pytest.approx(2.5 + 2.5 * 0.6)


def test_steps(world: World) -> None:
    one, two = world.one.metrics(WorkflowMetrics), world.two.metrics(WorkflowMetrics)
    first, second = (metrics.steps("data_agent", "load") for metrics in (one, two))
    for counts in (first, second):
        counts.add(DISPATCHED)
        counts.waited(0.02)
        counts.ran(0.3)
        counts.add(StepStatus.SUCCEEDED)
    for what in (DISPATCHED, RETRIED, TIMED_OUT, RESENT + "lease"):
        first.add(what)
    for what in (RESENT + "restart", StepStatus.FAILED):
        second.add(what)
    skipped = two.steps("decision_agent", "decide")
    skipped.add(StepStatus.SKIPPED)
    world.passes(10)
    world.report()
    load, decide = world.minute().steps
    assert (load.agent_type, load.action, load.runs, load.runs_per_second) == ("data_agent", "load", 3, 0.3)
    assert (load.ended, load.success_rate) == ({"failed": 1, "succeeded": 2}, pytest.approx(2 / 3))
    assert (load.retries, load.timeouts, load.resends) == (1, 1, 2)
    assert (load.wait.count, load.wait.mean, load.run.mean) == (2, pytest.approx(0.02), pytest.approx(0.3))
    assert (decide.action, decide.runs, decide.ended, decide.success_rate) == ("decide", 0, {"skipped": 1}, None)
    assert decide.run == Spread()


def test_agents(world: World) -> None:
    one, two = world.one.metrics(AgentMetrics), world.two.metrics(AgentMetrics)
    for outcome, times in ((ActionOutcome.SUCCEEDED, 5), (ActionOutcome.TIMEOUT, 1), (ActionOutcome.CANCELLED, 4)):
        for _ in range(times):
            one.action("data_agent", "load").ended(outcome, 0.4)
    two.action("data_agent", "load").ended(ActionOutcome.CACHED, 0.0)
    two.action("data_agent", "load").begun()
    two.action("data_agent", "query").begun()
    one.mail("data_agent", MailOutcome.ANSWERED)
    two.mail("data_agent", MailOutcome.ANSWERED)
    two.mail("coordinator_agent", MailOutcome.FAILED)
    world.passes(10)
    world.report()
    found = world.minute()
    load, query = found.agents
    assert (load.calls, load.calls_per_second, load.in_progress) == (11, 1.1, 1)
    assert load.outcomes == {"cached": 1, "cancelled": 4, "succeeded": 5, "timeout": 1}
    assert load.success_rate == pytest.approx(6 / 7)
    assert (load.response.count, load.response.mean) == (6, pytest.approx(0.4)), "those that ended by themselves"
    assert (query.calls, query.in_progress, query.success_rate) == (0, 1, None)
    assert [(one.agent_type, one.outcomes) for one in found.mail] == [
        ("coordinator_agent", {"failed": 1}),
        ("data_agent", {"answered": 2}),
    ]


def test_commits(world: World) -> None:
    metrics = world.one.metrics(WorkflowMetrics)
    for items in (1, 3, 8):
        metrics.recorded(items, 0.003)
        metrics.told(0.02)
    metrics.put_off()
    world.passes(5)
    world.report()
    found = world.minute().commits
    assert (found.commits, found.per_second, found.put_off) == (3, 3 / 5, 1)
    assert (found.items.mean, found.items.p50) == (4, 2 + 2 * 0.5)
    assert (found.record.mean, found.tell.mean) == (pytest.approx(0.003), pytest.approx(0.02))


def test_messages(world: World) -> None:
    one, two = world.one.metrics(MessageMetrics), world.two.metrics(MessageMetrics)
    sending = one.of_service("edge")
    sending.published(Exchange.COMMANDS, "execution.start.v1", 4)
    sending.confirmed_within(0.002)
    sending.unroutable(1)
    sending.unconfirmed(2)
    one.reconnected("edge")
    for metrics in (one, two):
        taking = metrics.of_queue("registry", "registry")
        taking.received(again=False)
        taking.lagged(0.03)
        taking.settled(ACKED)
    crashed = two.of_queue("orchestrator", "orchestrator.crashed")
    crashed.received(again=True)
    crashed.settled(DEAD_LETTERED)
    crashed.refused("contract")
    two.of_queue("data_agent", "data_agent").received(again=False)
    world.passes(10)
    world.report()
    found = world.minute().messages
    assert (found.published, found.published_per_second) == (4, 0.4)
    assert (found.unroutable, found.unconfirmed, found.reconnects) == (1, 2, 1)
    assert found.publish.mean == pytest.approx(0.002)
    assert (found.received, found.redelivered, found.dead_lettered) == (4, 1, 1)
    assert found.refused == {"contract": 1}
    data, orchestrator, registry = found.queues
    assert (data.service, data.queue, data.received, data.in_hand, data.settled) == (
        *("data_agent", "data_agent", 1, 1),
        {},
    )
    assert (orchestrator.redelivered, orchestrator.settled) == (1, {"dead_lettered": 1})
    assert (registry.received, registry.received_per_second, registry.settled) == (2, 0.2, {"acked": 2})
    assert (registry.lag.count, registry.lag.mean, registry.in_hand) == (2, pytest.approx(0.03), 0)


async def test_requests_as_the_instrumentator_counts_them(world: World) -> None:
    app = FastAPI()

    @app.get("/there/{kind}")
    def there(kind: str) -> str:
        if kind == "bad":
            raise HTTPException(503)
        world.report()  # while it is answered
        return kind

    instrument(app, world.one.metrics(HttpMetrics))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        for path in ("/there/a", "/there/b", "/there/bad", "/nothing"):
            await client.get(path)
            assert world.minute().http.in_progress == 1
    world.passes(8)
    world.report()
    found = world.minute().http
    assert (found.requests, found.per_second, found.in_progress) == (4, 0.5, 0)
    assert found.statuses == {"2xx": 2, "4xx": 1, "5xx": 1}
    assert found.duration.count == 4
    assert found.duration.p50 is not None


def test_all_windows_or_one_and_what_they_cover(world: World) -> None:
    world.one.metrics(WorkflowMetrics).started()
    world.passes(100)
    world.report()
    world.passes(100)
    world.one.metrics(WorkflowMetrics).started()
    world.report()
    view = world.view()
    assert (view.at, view.since, view.processes, view.left_out) == (1_200.0, 1_000.0, 2, 0)
    assert [(one.window, one.seconds, one.executions.started) for one in view.windows] == [
        (60, 60, 1),
        (300, 200, 2),
        (900, 200, 2),
        (3600, 200, 2),
    ]
    assert [one.window for one in world.view(900).windows] == [900]
    world.passes(10)
    assert world.view().processes == 2
    world.passes(30)
    assert world.view().processes == 0


def test_before_anything_is_reported_there_are_no_figures(world: World) -> None:
    found = world.minute()
    assert (found.seconds, found.executions.started_per_second) == (0, 0)
    assert (found.steps, found.agents, found.mail, found.messages.queues) == ((), (), (), ())


def test_every_metric_that_is_shown_exists() -> None:
    registry = CollectorRegistry()
    for kind in (WorkflowMetrics, AgentMetrics, MessageMetrics, HttpMetrics):
        kind(registry)
    shown = set(re.findall(r'"((?:conclave|http)_\w+)"', Path(figures.__file__).read_text(encoding="utf-8")))
    there = {f"{family.name}{'_total' * (family.type == 'counter')}" for family in registry.collect()}
    assert len(shown) > 20
    assert shown <= there


def test_of_very_many_actions_and_outcomes_the_busiest_are_listed(world: World) -> None:
    """Processes say what they like, and an answer must fit into a message."""
    series = tuple(((f"t{i:04d}", "load", "succeeded"), (float(i),)) for i in range(1, 3_000))
    odd = tuple((("t0007", "load", f"odd{i:04d}"), (100.0,)) for i in range(500))
    family = MetricFamily(
        name="conclave_agent_actions_total",
        kind=MetricKind.COUNTER,
        labels=("agent_type", "action", "outcome"),
        series=series + odd,
    )
    world.passes(10)
    world.reports.hear(report(metrics=(family,)))
    found = world.minute()
    assert [one.agent_type for one in found.agents] == [
        "t0007",
        *(f"t{i:04d}" for i in range(3_000 - MOST_LISTED + 1, 3_000)),
    ]
    assert len(found.agents[0].outcomes) == 50
    assert not found.complete
    assert World().minute().complete
