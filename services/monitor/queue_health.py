"""Queues in views, and what is wrong with them in words. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from contracts.monitoring_health import DeadLetterFigures, QueueView, Severity
from services.monitor.findings import Finding, counted
from services.monitor.queue_flow import Flow
from services.monitor.queue_watch import Known, Measured

INSTANCES_SHOWN = 50  # with more of them than that, agents' queues are shown by type alone


def queue_views(measured: Mapping[str, Measured], flow: Flow) -> tuple[QueueView, ...]:
    """Every queue of its own, and the instances' queues of each type together; those by themselves only if they are
    few. A rate out is of a family: its queues share one."""
    of_instances: defaultdict[str, list[Measured]] = defaultdict(list)
    views = []
    for one in measured.values():
        if one.known.instance:
            of_instances[one.known.queue.family].append(one)
        else:
            views.append(_view(one, flow))
    views += [_together(family, those, flow) for family, those in of_instances.items()]
    instances = [one for those in of_instances.values() for one in those]
    if len(instances) <= INSTANCES_SHOWN:
        views += [_view(one, None) for one in instances]
    return tuple(sorted(views, key=lambda view: (view.owner, view.family, view.name)))


def by_family(measured: Iterable[Measured]) -> dict[str, tuple[int, int]]:
    """Messages that wait, and consumers, by family."""
    found: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for one in measured:
        ready, consumers = found[one.known.queue.family]
        found[one.known.queue.family] = (ready + one.figures.ready, consumers + one.figures.consumers)
    return dict(found)


def missing_queues(known: Iterable[Known], measured: Mapping[str, Measured]) -> tuple[str, ...]:
    """Names of those that should exist and do not; instances' queues come and go with them."""
    return tuple(sorted(one.queue.name for one in known if not one.instance and one.queue.name not in measured))


def queue_findings(views: Iterable[QueueView], unserved: Iterable[str], long_wait: float) -> Iterator[Finding]:
    """Queues in which messages wait and nobody takes them, that are taken from too slowly, or not at all by those who
    could: messages wait for longer than ``long_wait`` seconds. ``unserved`` may be without consumers: nobody is meant
    to take from them, or it was said of their service that nobody runs it."""
    apart = set(unserved)
    for view in views:
        if not view.ready:
            continue
        if not view.consumers:
            if view.name not in apart:
                yield _unserved(view)
        elif not view.name or view.family == view.name:
            yield from _behind(view, long_wait)


def dead_letter_findings(figures: DeadLetterFigures) -> Iterator[Finding]:
    if figures.arrived:
        more = f"{figures.arrived} or more messages"
        count = more if figures.arrived >= figures.limit else counted(figures.arrived, "message", "messages")
        yield Finding(
            "dead_letters_arriving",
            Severity.WARNING,
            "dead_letters",
            f"{count} became {'a dead letter' if figures.arrived == 1 else 'dead letters'} within {figures.window:g} s",
            "GET /api/v1/monitoring/dead-letters says why; mend that, then replay or discard them.",
            lasting=True,
        )
    if figures.unstorable:
        yield Finding(
            "dead_letters_unstorable",
            Severity.WARNING,
            "queue:dead-letters.unstorable",
            f"{counted(figures.unstorable, 'dead letter is', 'dead letters are')} too large for the store and left in"
            " the broker",
            "Take them from the queue dead-letters.unstorable with the broker's own tools.",
        )


def _unserved(view: QueueView) -> Finding:
    return Finding(
        "queue_unserved",
        Severity.ERROR,
        f"queue:{view.name or view.family}",
        f"{_messages(view)} in {view.name or view.family}, and nobody takes from it",
        f"Start {view.owner}. What waits is not lost.",
    )


def _messages(view: QueueView) -> str:
    return counted(view.ready, "message waits", "messages wait")


def _behind(view: QueueView, long_wait: float) -> Iterator[Finding]:
    name = view.name or view.family
    if view.out_rate is not None and view.out_rate * long_wait < 1 and view.period >= long_wait:
        yield Finding(
            "queue_stalled",
            Severity.WARNING,
            f"queue:{name}",
            f"{_messages(view)} in {name}, its {counted(view.consumers, 'consumer', 'consumers')} took"
            f" {view.out_rate:.2g} a second",
            f"{view.owner} works on something long, or hangs: see its log, and AGENT_CONCURRENCY.",
        )
    elif _waits(view, long_wait):
        waited = "" if view.lag_p95 is None else f", 5 % waited for more than {view.lag_p95:.0f} s"
        grows = "" if not view.growth_rate or view.growth_rate < 0 else f" and grows by {view.growth_rate:.2g} a second"
        yield Finding(
            "queue_behind",
            Severity.WARNING,
            f"queue:{name}",
            f"{name} is behind: {_messages(view)}{grows}{waited}",
            f"More replicas of {view.owner} take more; so does a higher AGENT_CONCURRENCY where the work allows it.",
        )


def _waits(view: QueueView, long_wait: float) -> bool:
    if view.lag_p95 is not None and view.lag_p95 > long_wait:
        return True
    return bool(view.out_rate) and view.ready / (view.out_rate or 1.0) > long_wait


def _view(one: Measured, flow: Flow | None) -> QueueView:
    family = one.known.queue.family
    out = None if flow is None else flow.rate(family)
    lag = None if flow is None else flow.lags.get(family)
    return QueueView(
        name=one.known.queue.name,
        family=family,
        owner=one.known.owner,
        ready=one.figures.ready,
        unacked=one.figures.unacked,
        consumers=one.figures.consumers,
        measured_at=one.at,
        period=one.period,
        growth_rate=one.growth,
        out_rate=out,
        in_rate=_in_rate(out, one.growth),
        lag_p50=None if lag is None else lag.quantile(0.5),
        lag_p95=None if lag is None else lag.quantile(0.95),
    )


def _together(family: str, those: list[Measured], flow: Flow) -> QueueView:
    growths = [one.growth for one in those if one.growth is not None]
    growth = sum(growths) if growths else None
    unacked = [one.figures.unacked for one in those if one.figures.unacked is not None]
    out, lag = flow.rate(family), flow.lags.get(family)
    return QueueView(
        family=family,
        queues=len(those),
        owner=those[0].known.owner,
        ready=sum(one.figures.ready for one in those),
        unacked=sum(unacked) if unacked else None,
        consumers=sum(one.figures.consumers for one in those),
        measured_at=min(one.at for one in those),
        period=max(one.period for one in those),
        growth_rate=growth,
        out_rate=out,
        in_rate=_in_rate(out, growth),
        lag_p50=None if lag is None else lag.quantile(0.5),
        lag_p95=None if lag is None else lag.quantile(0.95),
    )


def _in_rate(out: float | None, growth: float | None) -> float | None:
    """What came in is what was taken and what there is more of. Both are measured, at moments that differ a little."""
    return None if out is None or growth is None else max(0.0, out + growth)
