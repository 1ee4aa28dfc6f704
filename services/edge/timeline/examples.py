"""The examples of the timeline: the workflow of ``services.edge.examples``, with times that are easy to add up."""

from typing import Any

from services.edge import examples

_ENDED_AT = "2026-01-31T09:30:00.187500Z"


def _step(
    step_id: str, agent: tuple[str, str], after: str | None, times: tuple[str, ...], run: float
) -> dict[str, Any]:
    sent_at, began_at, finished_at, recorded_at = times
    return {
        "step_id": step_id,
        "total_seconds": run + 0.03125,
        "wait_seconds": 0.015625,
        "run_seconds": run,
        "backoff_seconds": 0.0,
        "overhead_seconds": 0.015625,
        "status": "succeeded",
        "agent_type": agent[0],
        "action": agent[1],
        "critical": True,
        "slack_seconds": 0.0,
        "released_by": after,
        "ready_at": sent_at,
        "sent_at": sent_at,
        "ended_at": recorded_at,
        "skipped_because": None,
        "attempts": [
            {
                "attempt": 1,
                "status": "succeeded",
                "agent_id": f"{agent[0]}-1",
                "cached": False,
                "sent_at": sent_at,
                "began_at": began_at,
                "began_estimated": False,
                "finished_at": finished_at,
                "recorded_at": recorded_at,
                "dispatch_seconds": 0.0,
                "wait_seconds": 0.015625,
                "run_seconds": run,
                "record_seconds": 0.015625,
                "error": None,
                "retry_at": None,
                "resent": 0,
                "clock_skew_seconds": 0.0,
                "progress_reports": 0,
                "progress": [],
            }
        ],
    }


def _at(microseconds: int) -> str:
    return f"2026-01-31T09:30:00.{microseconds:06d}Z"


_STEPS = [
    _step(
        "step1",
        ("data_agent", "process_data"),
        None,
        ("2026-01-31T09:30:00Z", _at(15_625), _at(93_750), _at(109_375)),
        0.078125,
    ),
    _step(
        "step2",
        ("decision_agent", "make_decision"),
        "step1",
        (_at(109_375), _at(125_000), _at(171_875), _ENDED_AT),
        0.046875,
    ),
]
_SPENT = ("step_id", "total_seconds", "wait_seconds", "run_seconds", "backoff_seconds", "overhead_seconds")

TIMELINE: dict[str, Any] = {
    "execution_id": examples.EXECUTION_ID,
    "workflow_id": examples.WORKFLOW_ID,
    "workflow_name": "test_workflow",
    "status": "completed",
    "n": 3,
    "started_at": "2026-01-31T09:30:00Z",
    "ended_at": _ENDED_AT,
    "as_of": _ENDED_AT,
    "total_seconds": 0.1875,
    "clock_skew_seconds": 0.0,
    "critical_path": {
        "total_seconds": 0.1875,
        "wait_seconds": 0.03125,
        "run_seconds": 0.125,
        "backoff_seconds": 0.0,
        "overhead_seconds": 0.03125,
        "steps": [{name: step[name] for name in _SPENT} for step in _STEPS],
    },
    "step_count": 2,
    "steps": _STEPS,
    "next": None,
}

TEXT = f"""\
{examples.EXECUTION_ID} (test_workflow): completed, 0.188 s from 2026-01-31 09:30:00 UTC
critical path, 2 of 2 steps: wait 0.031 s (17%), run 0.125 s (67%), backoff 0.000 s (0%), overhead 0.031 s (17%)

  step  status    |0{"0.188 s":>59}|      wait       run   backoff  overhead     slack
* step1 succeeded |{".....#########################-----":<60}|     0.016     0.078     0.000     0.016     0.000
* step2 succeeded |{".....###############-----":>60}|     0.016     0.047     0.000     0.016     0.000

* on the critical path   . wait   # run   ~ backoff   - overhead   | no time at all
"""
