from contracts.monitoring import MetricFamily, MetricKind
from contracts.monitoring_health import ActionView
from services.monitor.action_rates import ActionRates
from services.monitor.windows import Windows


class Hosts:
    """One process that counts what its agents do, and reports it; its clock stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.windows = Windows(lambda: self.now)
        self.rates = ActionRates(self.windows, 300.0, 3_600.0)
        self._counts: dict[str, float] = {}
        self._report()

    def did(self, seconds: float, **outcomes: int) -> ActionView | None:
        """Let time pass, in which so many attempts ended, spread evenly; what is said at the end."""
        steps = max(1, int(seconds / 5))
        done: dict[str, int] = dict.fromkeys(outcomes, 0)
        for i in range(1, steps + 1):
            self.now += seconds / steps
            for outcome, count in outcomes.items():
                due = count * i // steps
                self._counts[outcome] = self._counts.get(outcome, 0.0) + due - done[outcome]
                done[outcome] = due
            self._report()
            self.rates.judge(self.now)
        return next(iter(self.rates.judge(self.now).get("clerk", ())), None)

    def _report(self) -> None:
        series = tuple((("clerk", "write", outcome), (count,)) for outcome, count in self._counts.items())
        family = MetricFamily(
            name="conclave_agent_actions_total",
            kind=MetricKind.COUNTER,
            labels=("agent_type", "action", "outcome"),
            series=series,
        )
        self.windows.add(("host", "h"), [family], from_zero=True)


def test_an_action_that_begins_to_fail_and_is_mended() -> None:
    hosts = Hosts()
    view = hosts.did(1_800, succeeded=600, failed=6)
    assert view is not None
    assert not view.failing
    assert view.usual_failure_rate is not None
    assert 0.005 < view.usual_failure_rate < 0.03
    view = hosts.did(60, failed=10, timeout=5, crashed=5)
    assert view is not None
    assert view.failing
    assert view.failed >= 20
    usual = view.usual_failure_rate
    # It goes on, for longer than what it is held against: it does not become usual.
    view = hosts.did(3_600, failed=900)
    assert view is not None
    assert (view.failing, view.usual_failure_rate, view.failure_rate) == (True, usual, 1.0)
    view = hosts.did(120, succeeded=60)
    assert view is not None
    assert not view.failing
    view = hosts.did(60, succeeded=30)
    assert view is not None
    assert not view.failing, "what failed before it was mended is held against it no more"


def test_what_was_cancelled_or_refused_says_nothing() -> None:
    view = Hosts().did(60, cancelled=50, refused=50, failed=1, cached=3, succeeded=2)
    assert view is not None
    assert (view.calls, view.failed, view.failing) == (6, 1, False)


def test_an_action_that_nobody_calls_any_more_is_forgotten() -> None:
    hosts = Hosts()
    view = hosts.did(60, failed=20)
    assert view is not None
    assert view.failing
    assert hosts.did(250) is not None
    assert hosts.did(100) is None


def test_it_is_told_how_it_was_at_its_worst_and_a_second_time_says_nothing_of_the_first_being_usual() -> None:
    hosts = Hosts()
    hosts.did(900, succeeded=300)
    first = hosts.did(120, failed=40)
    assert first is not None
    assert first.failing
    after = hosts.did(30, succeeded=4)
    assert after is not None
    assert (after.failing, after.worst_failed) == (True, 40)
    assert hosts.did(900) is None
    second = hosts.did(60, failed=20)
    assert second is not None
    assert (second.failing, second.worst_calls, second.worst_failed) == (True, 20, 20)
    assert second.usual_failure_rate is not None
    assert second.usual_failure_rate < 0.05
