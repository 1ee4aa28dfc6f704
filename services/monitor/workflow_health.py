"""Workflows: what does not go on and what fails more often than usual, in views and in words. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from contracts.execution import ExecutionEndedEvent
from contracts.history import ExecutionStatus, Header
from contracts.monitoring_health import EndedExecution, OpenExecution, Severity, WorkflowsView
from services.monitor.ending_rates import EndingRates
from services.monitor.findings import Finding, counted
from services.monitor.stuck import OVERDUE_LIMIT, SHOWN, STUCK_LIMIT, Halted
from services.monitor.unusual import in_words

_WORKFLOWS = 50
_SLOWEST = 10
_FAILURES = 20
_ERRORS = 10  # of one execution
_LONGEST_TYPE = 100  # characters: agents call their errors what they like
_LONGEST_NAME = 200  # of an execution, a workflow, a step: as long as they may be
_NAMED = 10  # workflows with a problem of their own; of many, something in common is to blame


def end_of(event: ExecutionEndedEvent, status: ExecutionStatus, now: float) -> EndedExecution:
    """An end as its event tells of it, ``now`` if that does not say when; of its errors the first few."""
    at = now if event.ended_at is None else min(event.ended_at, now)
    return EndedExecution(
        execution_id=event.execution_id[:_LONGEST_NAME],
        workflow_id=None if event.workflow_id is None else event.workflow_id[:_LONGEST_NAME],
        workflow_name=event.workflow_name[:_LONGEST_NAME],
        status=status,
        at=at,
        duration=_between(event.started_at, event.ended_at),
        errors={
            step[:_LONGEST_NAME]: error.type[:_LONGEST_TYPE] for step, error in islice(event.errors.items(), _ERRORS)
        },
    )


def end_of_header(header: Header, errors: Mapping[str, str]) -> EndedExecution | None:
    """An end as it was written down, with the type of each failed step's error; None of an execution that has not
    ended."""
    if header.ended_at is None:
        return None
    return EndedExecution(
        execution_id=header.execution_id,
        workflow_id=header.workflow_id,
        workflow_name=header.workflow_name,
        status=header.status,
        at=header.ended_at,
        duration=_between(header.started_at, header.ended_at),
        errors={step[:_LONGEST_NAME]: kind[:_LONGEST_TYPE] for step, kind in islice(errors.items(), _ERRORS)},
    )


def workflow_findings(halted: Halted | None, rates: EndingRates, open_limit: int, now: float) -> Iterator[Finding]:
    if halted is not None:
        if halted.overdue:
            yield _overdue(halted.overdue)
        if halted.stuck:
            yield _stuck(halted.stuck)
        if halted.open >= open_limit:
            yield _full(open_limit)
    for (workflow_id, name), (failing, recent) in list(rates.failing(now).items())[:_NAMED]:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in rates.errors_of((workflow_id, name)).most_common(3))
        yield Finding(
            "workflow_failing",
            Severity.WARNING,
            f"workflow:{workflow_id or name}",
            in_words(failing.worst, recent, f"executions of {name!r}", usual=failing.usual)
            + (f". Errors: {kinds}" if kinds else ""),
            "See its recent failures, with the error of each step, and what changed in its agents or inputs.",
            lasting=True,
        )


def workflows_view(
    rates: EndingRates, halted: Halted | None, *, fault: str, open_limit: int, now: float, heard_for: float
) -> WorkflowsView:
    overdue = () if halted is None else halted.overdue
    stuck = () if halted is None else halted.stuck
    return WorkflowsView(
        at=now,
        heard_for=heard_for,
        fault=fault,
        open=None if halted is None else halted.open,
        open_limit=open_limit,
        overdue_count=len(overdue),
        overdue_limit=OVERDUE_LIMIT,
        overdue=overdue[:SHOWN],
        stuck_count=len(stuck),
        stuck_limit=STUCK_LIMIT,
        stuck=stuck[:SHOWN],
        windows=rates.windows(now),
        failing=len(rates.failing(now)),
        workflows=rates.workflows(now, _WORKFLOWS),
        slowest=rates.slowest(now, _SLOWEST),
        recent_failures=rates.recent_failures(_FAILURES),
    )


def _overdue(overdue: tuple[OpenExecution, ...]) -> Finding:
    return Finding(
        "executions_overdue",
        Severity.ERROR,
        "executions",
        f"{_executions(len(overdue), OVERDUE_LIMIT)} should have been woken, the first"
        f" {overdue[0].overdue_by or 0.0:.0f} s ago ({_ids(overdue)}): timers do not fire, or their shards wait",
        "See that the orchestrator runs, is ready, and takes from its shard queues.",
    )


def _stuck(stuck: tuple[OpenExecution, ...]) -> Finding:
    return Finding(
        "executions_stuck",
        Severity.ERROR,
        "executions",
        f"nothing more is to come for {_executions(len(stuck), STUCK_LIMIT)} that did not end: {_ids(stuck)}",
        "If the orchestrator is ready, see its log for their ids; cancel them and start them anew.",
    )


def _full(open_limit: int) -> Finding:
    return Finding(
        "executions_full",
        Severity.WARNING,
        "executions",
        f"{counted(open_limit, 'execution is', 'executions are')} open, as many as may be: starts are refused, or wait",
        "More hosts for the agents that they wait for end it; MAX_OPEN_EXECUTIONS is the limit.",
    )


def _executions(count: int, limit: int) -> str:
    return f"{count} or more executions" if count >= limit else counted(count, "execution", "executions")


def _ids(executions: Iterable[OpenExecution]) -> str:
    return ", ".join([one.execution_id for one in executions][:3])


def _between(started_at: float | None, ended_at: float | None) -> float | None:
    return None if started_at is None or ended_at is None else max(0.0, ended_at - started_at)
