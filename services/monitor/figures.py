"""What was done, over windows of time: the view that ``/api/v1/monitoring/metrics`` shows.

The names of metrics are those of ``services.runtime.telemetry`` and, for HTTP, those that the edge's
prometheus-fastapi-instrumentator gives.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from heapq import nlargest
from typing import TypeVar

from contracts.monitoring import WINDOWS
from contracts.monitoring_views import (
    ActionFigures,
    CommitFigures,
    ExecutionFigures,
    HttpFigures,
    MailFigures,
    MessageFigures,
    MetricsView,
    QueueFigures,
    Spread,
    StepFigures,
    WindowFigures,
)
from services.monitor.percentiles import Distribution
from services.monitor.reports import Reports
from services.monitor.windows import Increments, Place, Windows

_ACTION = ("agent_type", "action")
_QUEUE = ("service", "queue")

MOST_LISTED = 500
"""Actions or queues in one window: an answer must fit into a message, whatever processes report."""
_MOST_VALUES = 50  # of one label that have a figure of their own

K = TypeVar("K")
N = TypeVar("N", int, float)

_WORKED = ("succeeded", "cached")
_DID_NOT_WORK = ("failed", "timeout", "crashed")


def figures_of(
    reports: Reports, windows: Windows, window: int | None = None, wall: Callable[[], float] = time.time
) -> MetricsView:
    """One window, or all of them."""
    return MetricsView(
        at=wall(),
        since=reports.since,
        processes=sum(not one.presence.gone for one in reports.processes()),
        left_out=windows.left_out,
        windows=tuple(_window(windows, seconds) for seconds in (WINDOWS if window is None else (window,))),
    )


def _window(windows: Windows, window: int) -> WindowFigures:
    found = windows.over(window)
    steps, agents, mail = tuple(_steps(found)), tuple(_actions(found, windows)), tuple(_mail(found))
    messages = _messages(found, windows)
    return WindowFigures(
        window=window,
        seconds=found.seconds,
        executions=_executions(found, windows),
        steps=steps,
        agents=agents,
        mail=mail,
        commits=_commits(found),
        messages=messages,
        http=_http(found, windows),
        complete=all(len(those) < MOST_LISTED for those in (steps, agents, mail, messages.queues)),
    )


# ---- the parts


def _executions(found: Increments, windows: Windows) -> ExecutionFigures:
    started = found.total("conclave_executions_started_total")
    ended = _by_value(found.sums("conclave_executions_ended_total", "status"))
    # Each replica of the orchestrator says how many there are in the whole system.
    opened = windows.gauge("conclave_executions_open", of=max)
    return ExecutionFigures(
        started=round(started),
        started_per_second=_rate(started, found),
        ended=ended,
        ended_per_second=_rate(sum(ended.values()), found),
        duration=spread(found.distribution("conclave_execution_duration_seconds")),
        starts_refused=_by_value(found.sums("conclave_starts_refused_total", "code")),
        late_results=round(found.total("conclave_late_results_total")),
        open=round(opened.get((), 0)),
        starts_waiting=round(windows.gauge("conclave_starts_waiting").get((), 0)),
    )


def _steps(found: Increments) -> Iterable[StepFigures]:
    runs = found.sums("conclave_steps_dispatched_total", *_ACTION)
    ended = _nested(found.sums("conclave_steps_ended_total", *_ACTION, "status"))
    wait = found.distributions("conclave_step_wait_seconds", *_ACTION)
    run = found.distributions("conclave_step_run_seconds", *_ACTION)
    retries = found.sums("conclave_step_retries_total", *_ACTION)
    timeouts = found.sums("conclave_step_timeouts_total", *_ACTION)
    resends = found.sums("conclave_step_resends_total", *_ACTION)
    for place in _busiest(runs, ended, wait, run, retries, timeouts, resends):
        statuses = ended.get(place, {})
        yield StepFigures(
            agent_type=place[0],
            action=place[1],
            runs=round(runs.get(place, 0)),
            runs_per_second=_rate(runs.get(place, 0), found),
            ended=statuses,
            success_rate=_share(statuses, ("succeeded",), ("failed",)),
            wait=spread(wait.get(place)),
            run=spread(run.get(place)),
            retries=round(retries.get(place, 0)),
            timeouts=round(timeouts.get(place, 0)),
            resends=round(resends.get(place, 0)),
        )


def _actions(found: Increments, windows: Windows) -> Iterable[ActionFigures]:
    outcomes = _nested(found.sums("conclave_agent_actions_total", *_ACTION, "outcome"))
    response = found.distributions("conclave_agent_action_duration_seconds", *_ACTION)
    in_progress = windows.gauge("conclave_agent_actions_in_progress", *_ACTION)
    calls_of = {place: sum(ended.values()) for place, ended in outcomes.items()}
    for place in _busiest(calls_of, response, in_progress):
        ended = outcomes.get(place, {})
        calls = sum(ended.values())
        yield ActionFigures(
            agent_type=place[0],
            action=place[1],
            calls=calls,
            calls_per_second=_rate(calls, found),
            outcomes=ended,
            success_rate=_share(ended, _WORKED, _DID_NOT_WORK),
            response=spread(response.get(place)),
            in_progress=round(in_progress.get(place, 0)),
        )


def _mail(found: Increments) -> Iterable[MailFigures]:
    outcomes = _nested(found.sums("conclave_agent_messages_total", "agent_type", "outcome"))
    count = {place: sum(those.values()) for place, those in outcomes.items()}
    return (MailFigures(agent_type=place[0], outcomes=outcomes[place]) for place in _busiest(count))


def _commits(found: Increments) -> CommitFigures:
    items = spread(found.distribution("conclave_commit_items"))
    return CommitFigures(
        commits=items.count,
        per_second=_rate(items.count, found),
        items=items,
        record=spread(found.distribution("conclave_commit_record_seconds")),
        tell=spread(found.distribution("conclave_commit_tell_seconds")),
        put_off=round(found.total("conclave_commits_put_off_total")),
    )


def _messages(found: Increments, windows: Windows) -> MessageFigures:
    published = found.total("conclave_messages_published_total")
    queues = tuple(_queues(found, windows))
    received = round(found.total("conclave_messages_received_total"))
    settled = found.sums("conclave_messages_settled_total", "outcome")
    return MessageFigures(
        published=round(published),
        published_per_second=_rate(published, found),
        unroutable=round(found.total("conclave_messages_unroutable_total")),
        unconfirmed=round(found.total("conclave_messages_unconfirmed_total")),
        publish=spread(found.distribution("conclave_publish_seconds")),
        received=received,
        received_per_second=_rate(received, found),
        redelivered=round(found.total("conclave_messages_redelivered_total")),
        dead_lettered=round(settled.get(("dead_lettered",), 0)),
        refused=_by_value(found.sums("conclave_messages_refused_total", "reason")),
        reconnects=round(found.total("conclave_bus_reconnects_total")),
        queues=queues,
    )


def _queues(found: Increments, windows: Windows) -> Iterable[QueueFigures]:
    received = found.sums("conclave_messages_received_total", *_QUEUE)
    redelivered = found.sums("conclave_messages_redelivered_total", *_QUEUE)
    settled = _nested(found.sums("conclave_messages_settled_total", *_QUEUE, "outcome"))
    lag = found.distributions("conclave_message_lag_seconds", *_QUEUE)
    in_hand = windows.gauge("conclave_messages_in_hand", *_QUEUE)
    for place in _busiest(received, redelivered, settled, lag, in_hand):
        yield QueueFigures(
            service=place[0],
            queue=place[1],
            received=round(received.get(place, 0)),
            received_per_second=_rate(received.get(place, 0), found),
            redelivered=round(redelivered.get(place, 0)),
            settled=settled.get(place, {}),
            lag=spread(lag.get(place)),
            in_hand=round(in_hand.get(place, 0)),
        )


def _http(found: Increments, windows: Windows) -> HttpFigures:
    statuses = _by_value(found.sums("http_requests_total", "status"))
    return HttpFigures(
        requests=sum(statuses.values()),
        per_second=_rate(sum(statuses.values()), found),
        statuses=statuses,
        duration=spread(found.distribution("http_request_duration_highr_seconds")),
        in_progress=round(windows.gauge("http_requests_in_progress").get((), 0)),
    )


# ---- shapes


def spread(observed: Distribution | None) -> Spread:
    """Of nothing where there is none."""
    if observed is None or not observed.count:
        return Spread()
    return Spread(
        count=round(observed.count),
        mean=observed.mean,
        p50=observed.quantile(0.5),
        p90=observed.quantile(0.9),
        p95=observed.quantile(0.95),
        p99=observed.quantile(0.99),
    )


def _rate(count: float, found: Increments) -> float:
    return count / found.seconds if found.seconds > 0 else 0.0


def _share(counts: Mapping[str, int], good: Iterable[str], bad: Iterable[str]) -> float | None:
    """The share of the good in both; None where there is neither."""
    better, worse = (sum(counts.get(one, 0) for one in those) for those in (good, bad))
    return better / (better + worse) if better + worse else None


def _by_value(sums: Mapping[Place, float]) -> dict[str, int]:
    """What was summed by one label, by its value."""
    return {place[0]: round(figure) for place, figure in sorted(_most(sums, _MOST_VALUES).items())}


def _nested(sums: Mapping[Place, float]) -> dict[Place, dict[str, int]]:
    """What was summed by several labels, by all but the last, then by the last."""
    found: dict[Place, dict[str, int]] = {}
    for place, figure in sorted(sums.items()):
        found.setdefault(place[:-1], {})[place[-1]] = round(figure)
    return {place: _most(those, _MOST_VALUES) for place, those in found.items()}


def _busiest(counts: Mapping[Place, float], *others: Iterable[Place]) -> list[Place]:
    """All that any has, in order; of too many those with the highest counts."""
    places = {place for some in (counts, *others) for place in some}
    return sorted(
        places if len(places) <= MOST_LISTED else nlargest(MOST_LISTED, places, lambda one: counts.get(one, 0))
    )


def _most(figures: Mapping[K, N], most: int) -> dict[K, N]:
    """Those with the highest figures."""
    return dict(figures if len(figures) <= most else nlargest(most, figures.items(), lambda one: one[1]))
