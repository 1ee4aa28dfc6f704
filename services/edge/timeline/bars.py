"""A timeline as text: a line a step, a bar a line. What users and agents named is shown without control characters, so
that nothing of it moves a terminal's cursor or colours its lines."""

import unicodedata
from collections.abc import Mapping, Sequence

from services.edge.outline import Outline
from services.edge.timeline.course import Course, Track
from services.edge.timeline.critical_path import Analysis
from services.edge.timeline.models import Spent, Timeline, TimelineStep
from services.edge.timeline.phases import Phase, Span, spans_of
from services.edge.timeline.views import timeline_of

WIDTH = 60  # columns of a bar
LONGEST = 32  # columns of a step's id

SIGNS: Mapping[Phase, str] = {
    Phase.WAIT: ".",
    Phase.RUN: "#",
    Phase.BACKOFF: "~",
    Phase.DISPATCH: "-",
    Phase.RECORD: "-",
}
LEGEND = "* on the critical path   . wait   # run   ~ backoff   - overhead   | no time at all"


def text_of(course: Course, outline: Outline, analysis: Analysis | None, *, after: int, limit: int) -> str:
    """The same page of the same timeline as ``timeline_of`` gives, to be read."""
    shown = timeline_of(course, outline, analysis, after=after, limit=limit)
    widest = min(max([4, *(columns(step.step_id) for step in shown.steps)]), LONGEST)
    figures = "".join(f"{name:>10}" for name in ("wait", "run", "backoff", "overhead", "slack"))
    lines = [
        *_head(shown),
        "",
        f"  {'step':<{widest}} {'status':<9} |{_scale(shown.total_seconds)}|{figures}",
        *(_line(step, course.tracks[step.step_id], course, widest) for step in shown.steps),
        "",
        LEGEND,
    ]
    if shown.next is not None:
        lines.append(f"steps {after + 1} to {shown.next} of {shown.step_count}; the next page: after={shown.next}")
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Without anything that is not printed: control characters, marks of direction, line ends."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def columns(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(_columns_of(sign) for sign in plain(text))


def fitted(text: str, width: int) -> str:
    """Exactly ``width`` columns of it."""
    text = plain(text)
    if columns(text) > width:
        while columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - columns(text))


def bar(spans: Sequence[Span], course: Course, closed_at: int | None) -> str:
    """Each column shows what most of its time was spent with."""
    spent: list[dict[Phase, float]] = [{} for _ in range(WIDTH)]
    total = max(course.total, 1)
    for span in spans:
        begin, end = ((at - course.started_at) * WIDTH / total for at in (span.begin, span.end))
        for column in range(max(0, int(begin)), min(WIDTH, int(end) + 1)):
            part = min(end, column + 1) - max(begin, column)
            if part > 0:
                spent[column][span.phase] = spent[column].get(span.phase, 0.0) + part
    drawn = [SIGNS[max(each, key=each.__getitem__)] if each else " " for each in spent]
    if not spans and closed_at is not None:
        drawn[min(WIDTH - 1, (closed_at - course.started_at) * WIDTH // total)] = "|"
    return "".join(drawn)


def _head(shown: Timeline) -> list[str]:
    began = f"{shown.started_at:%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"{plain(shown.execution_id)} ({plain(shown.workflow_name)}): {shown.status.value},"
        f" {_figure(shown.total_seconds)} s from {began}{'' if shown.ended_at else ' until now'}"
    ]
    path = shown.critical_path
    if path is None:
        lines.append("critical path unknown: the definition is not stored any more")
    else:
        lines.append(f"critical path, {len(path.steps)} of {shown.step_count} steps: {_shares(path)}")
    if shown.clock_skew_seconds:
        lines.append(f"clocks differ by {_figure(shown.clock_skew_seconds)} s or more: times that cannot be were moved")
    return lines


def _shares(spent: Spent) -> str:
    whole = spent.total_seconds or 1.0
    parts = {
        "wait": spent.wait_seconds,
        "run": spent.run_seconds,
        "backoff": spent.backoff_seconds,
        "overhead": spent.overhead_seconds,
    }
    return ", ".join(f"{name} {_figure(part)} s ({part / whole:.0%})" for name, part in parts.items())


def _scale(total_seconds: float) -> str:
    return f"0{f'{_figure(total_seconds)} s':>{WIDTH - 1}}"


def _line(step: TimelineStep, track: Track, course: Course, width: int) -> str:
    spans = spans_of(track, course.until)
    figures: list[float | None] = [None] * 5
    if step.ready_at is not None:
        spent = (step.wait_seconds, step.run_seconds, step.backoff_seconds, step.overhead_seconds)
        figures = [*spent, step.slack_seconds]
    shown = "".join(f"{'' if one is None else _figure(one):>10}" for one in figures)
    tried = f" {len(step.attempts)} attempts" if len(step.attempts) > 1 else ""
    mark = "*" if step.critical else " "
    drawn = bar(spans, course, None if track.ready_at is None else track.closed_at)
    return f"{mark} {fitted(step.step_id, width)} {step.status.value:<9} |{drawn}|{shown}{tried}".rstrip()


def _figure(value: float) -> str:
    return f"{value:.3f}" if value < 1000 else f"{value:.0f}"


def _columns_of(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1
