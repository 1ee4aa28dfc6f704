from contracts.monitoring_health import HealthStatus, Problem, Severity
from services.monitor.findings import Finding, Problems, by_severity, status_of


def finding(subject: str, severity: Severity = Severity.WARNING, *, lasting: bool = False, what: str = "") -> Finding:
    return Finding("code", severity, subject, what or f"{subject} is wrong", "mend it", lasting=lasting)


def subjects(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.subject for problem in problems]


def test_what_does_not_last_is_no_problem() -> None:
    problems = Problems(patience=10.0)
    assert problems.after([finding("a")], 100.0) == ()
    assert problems.after([finding("a")], 109.9) == ()
    assert problems.after([], 110.0) == ()
    assert problems.after([finding("a")], 111.0) == ()  # it begins anew
    assert subjects(problems.after([finding("a")], 121.0)) == ["a"]


def test_a_problem_is_since_it_was_first_found_and_says_what_is_so_now() -> None:
    problems = Problems(patience=10.0)
    problems.after([finding("a", what="1 waits")], 100.0)
    (problem,) = problems.after([finding("a", what="2 wait")], 130.0)
    assert (problem.since, problem.what, problem.what_to_do) == (100.0, "2 wait", "mend it")


def test_a_clock_that_is_set_back_hides_no_problem_for_long() -> None:
    problems = Problems(patience=10.0)
    problems.after([finding("a")], 5_000.0)
    assert problems.after([finding("a")], 100.0) == ()
    assert subjects(problems.after([finding("a")], 110.0)) == ["a"]


def test_what_took_its_time_already_is_a_problem_at_once() -> None:
    assert subjects(Problems(patience=10.0).after([finding("a", lasting=True), finding("b")], 100.0)) == ["a"]


def test_the_worst_come_first_and_then_the_oldest() -> None:
    problems = Problems(patience=0.0)
    problems.after([finding("old")], 100.0)
    found = [finding("new"), finding("old"), finding("down", Severity.CRITICAL), finding("part", Severity.ERROR)]
    after = problems.after(found, 101.0)
    assert subjects(after) == ["down", "part", "old", "new"]
    assert by_severity(after) == {Severity.CRITICAL: 1, Severity.ERROR: 1, Severity.WARNING: 2}


def test_the_whole_in_one_word() -> None:
    problems = Problems(patience=0.0)
    assert status_of(()) is HealthStatus.OK
    assert status_of(problems.after([finding("a")], 1.0)) is HealthStatus.DEGRADED
    assert status_of(problems.after([finding("a", Severity.ERROR)], 1.0)) is HealthStatus.DEGRADED
    assert status_of(problems.after([finding("a"), finding("b", Severity.CRITICAL)], 1.0)) is HealthStatus.DOWN
    assert by_severity(()) == dict.fromkeys(Severity, 0)
