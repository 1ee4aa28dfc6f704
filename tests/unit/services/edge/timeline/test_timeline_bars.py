"""A timeline as text: bars where they belong, and nothing in it that a terminal would obey."""

import re

from contracts.history import (
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    StepDispatched,
    StepSkipped,
    StepSucceeded,
)
from services.edge.outline import NOTHING_KNOWN, Outline, StepOutline
from services.edge.timeline.bars import WIDTH, bar, columns, fitted, plain, text_of
from services.edge.timeline.course import Course, course_of
from services.edge.timeline.critical_path import analyse
from services.edge.timeline.phases import Phase, Span

T0 = 1_769_851_800.0
HOSTILE = "red\x1b[31m\r\nline\u202e\x00 \N{PILE OF POO}名"


def log(*, name: str = "test") -> list[LogEntry]:
    """``a`` waits, runs and is recorded, 20 s each; ``b`` is skipped at the end of it."""
    started = ExecutionStarted(definition_hash="d", request_hash="r", workflow_name=name)
    done = StepSucceeded(step="a", attempt=1, started_at=T0 + 20, finished_at=T0 + 40)
    end = (done, StepSkipped(step="b", reason="no"), ExecutionEnded(status=ExecutionStatus.COMPLETED))
    commits = [(0, (started, StepDispatched(step="a", attempt=1, deadline=T0))), (60, end)]
    return [
        LogEntry(execution_id="exec-1", n=n, at=T0 + at, applied=("m",), events=events)
        for n, (at, events) in enumerate(commits, start=1)
    ]


KNOWN = Outline({"a": StepOutline("t", "x"), "b": StepOutline("t", "x", ("a",))}, frozenset({"b"}))


def text(known: Outline = KNOWN, *, name: str = "test", after: int = 0, limit: int = 10) -> str:
    course = course_of(log(name=name), known, T0)
    return text_of(course, known, analyse(course, known), after=after, limit=limit)


def drawn(spans: list[Span], total: int) -> str:
    started = ExecutionStarted(definition_hash="d", request_hash="r", workflow_name="w")
    return bar(spans, Course("e", started, 0, total), None)


def test_a_line_shows_each_phase_where_it_was() -> None:
    lines = text().splitlines()
    assert lines[0] == "exec-1 (test): completed, 60.000 s from 2026-01-31 09:30:00 UTC"
    assert lines[1].startswith("critical path, 1 of 2 steps: wait 20.000 s (33%), run 20.000 s (33%), backoff 0.000 s")
    (of_a,) = [line for line in lines if line.startswith("* a ")]
    assert "|" + "." * 20 + "#" * 20 + "-" * 20 + "|" in of_a
    assert of_a.split("|")[2].split() == ["20.000", "20.000", "0.000", "20.000", "0.000"]
    (of_b,) = [line for line in lines if line.startswith("  b ")]
    assert "|" + " " * (WIDTH - 1) + "||" in of_b


def test_a_column_shows_what_most_of_its_time_was_spent_with() -> None:
    spans = [Span(Phase.WAIT, 0, 9), Span(Phase.RUN, 9, 25), Span(Phase.BACKOFF, 25, 40), Span(Phase.RECORD, 40, 600)]
    assert drawn(spans, 600) == ".##~" + "-" * 56
    assert drawn([], 600) == " " * WIDTH
    assert drawn([Span(Phase.RUN, 0, 1)], 10**9)[0] == "#"


def test_all_the_steps_there_are_beyond_the_page_are_told_of() -> None:
    page = text(limit=1)
    assert page.endswith("steps 1 to 1 of 2; the next page: after=1\n")
    assert "next page" not in text()
    assert [line for line in text(after=1).splitlines() if line.startswith("  b ")]


def test_a_missing_definition_is_said() -> None:
    assert "critical path unknown" in text(NOTHING_KNOWN)


def test_nothing_that_users_named_moves_the_cursor() -> None:
    shown = text(name=HOSTILE)
    assert not re.search(r"[^\n -~…\N{PILE OF POO}名]", shown)
    assert r"red\x1b[31m\r\nline\u202e\x00" in shown.splitlines()[0]


def test_names_take_the_columns_that_a_terminal_gives_them() -> None:
    assert plain("a\tb") == r"a\tb"
    assert (columns("ab"), columns("名前"), columns("e\N{COMBINING ACUTE ACCENT}")) == (2, 4, 1)
    for name in ("ab", "名前名前名前", "x" * 40, "\x1b" * 9, ""):
        assert columns(fitted(name, 8)) == 8
    assert fitted("x" * 40, 8) == "xxxxxxx…"
