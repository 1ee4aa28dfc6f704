"""The examples that the OpenAPI document shows: one small workflow, followed through every answer."""

from typing import Any

WORKFLOW_ID = "wf-test"
EXECUTION_ID = "exec-2f1c5b7d9a3e4f60a1b2c3d4e5f60718"
CURSOR = "eyJhdCI6MTc2OTg1MTgwMC4wfQ"
STARTED_AT = "2026-01-31T09:30:00.000000Z"
PROGRESS_AT = "2026-01-31T09:30:00.050000Z"
ENDED_AT = "2026-01-31T09:30:00.180000Z"
DEFINITION_HASH = "5f0c6d2b8e1a4c7f9b3d6e8a0c2f4b6d8e0a2c4f6b8d0e2a4c6f8b0d2e4a6c8f"

DEFINITION: dict[str, Any] = {
    "name": "test_workflow",
    "steps": [
        {
            "id": "step1",
            "agent_type": "data_agent",
            "action": "process_data",
            "inputs": {"data_source": "test_data"},
        },
        {
            "id": "step2",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "inputs": {"data": "step1.output"},
            "depends_on": ["step1"],
        },
    ],
}

DEFINITION_YAML = """\
name: test_workflow
agents: [data_agent, decision_agent]
dependencies:
  step2: [step1]
steps:
  - id: step1
    agent_type: data_agent
    action: process_data
    inputs: {data_source: test_data}
  - id: step2
    agent_type: decision_agent
    action: make_decision
    inputs: {data: step1.output}
"""

WORKFLOW: dict[str, Any] = {
    "workflow_id": WORKFLOW_ID,
    "name": "test_workflow",
    "description": "",
    "definition_hash": DEFINITION_HASH,
    "created_at": STARTED_AT,
    "steps": 2,
}

STARTED = {
    "workflow_id": WORKFLOW_ID,
    "execution_id": EXECUTION_ID,
    "status": "started",
    "timestamp": STARTED_AT,
}

SUMMARY = {
    "execution_id": EXECUTION_ID,
    "workflow_id": WORKFLOW_ID,
    "workflow_name": "test_workflow",
    "status": "completed",
    "started_at": STARTED_AT,
    "ended_at": ENDED_AT,
}


def _step(agent_type: str, action: str, output: Any) -> dict[str, Any]:
    return {
        "status": "succeeded",
        "agent_type": agent_type,
        "action": action,
        "agent_id": f"{agent_type}-1",
        "attempts": 1,
        "output": output,
        "large_output": None,
        "error": None,
        "skipped_because": None,
        "cached": False,
        "dispatched_at": STARTED_AT,
        "started_at": "2026-01-31T09:30:00.010000Z",
        "ended_at": "2026-01-31T09:30:00.090000Z",
        "duration_seconds": 0.08,
        "next_attempt_at": None,
        "progress": None,
    }


EXECUTION: dict[str, Any] = {
    **SUMMARY,
    "n": 3,
    "definition_hash": DEFINITION_HASH,
    "client": "key:dashboard",
    "correlation_id": "b7c1e0",
    "duration_seconds": 0.18,
    "reason": "",
    "inputs": {},
    "large_inputs": None,
    "counts": {"succeeded": 2},
    "steps": {
        "step1": _step("data_agent", "process_data", {"rows": 3}),
        "step2": _step("decision_agent", "make_decision", {"decision": "B"}),
    },
    "outputs": {"step2": {"decision": "B"}},
    "large_outputs": {},
    "errors": {},
}

HISTORY = {
    "execution_id": EXECUTION_ID,
    "entries": [
        {
            "n": 1,
            "at": STARTED_AT,
            "applied": ["start"],
            "events": [
                {
                    "kind": "execution_started",
                    "cause": "start",
                    "definition_hash": DEFINITION_HASH,
                    "workflow_id": WORKFLOW_ID,
                    "workflow_name": "test_workflow",
                    "inputs": {},
                },
                {
                    "kind": "step_dispatched",
                    "cause": "start",
                    "step": "step1",
                    "attempt": 1,
                    "deadline": 1769851830.0,
                },
            ],
        }
    ],
    "next": 1,
}

EVENT_STREAM = f"""\
: {EXECUTION_ID}
retry: 1000

event: execution_started
data: {{"execution_id":"{EXECUTION_ID}","n":1,"at":"{STARTED_AT}","kind":"execution_started","cause":"start"}}
id: 1.0

event: step_dispatched
data: {{"execution_id":"{EXECUTION_ID}","n":1,"at":"{STARTED_AT}","kind":"step_dispatched","step":"step1","attempt":1}}
id: 1.1

event: step_progressed
data: {{"execution_id":"{EXECUTION_ID}","n":2,"at":"{PROGRESS_AT}","kind":"step_progressed","step":"step1","attempt":1,\
"fraction":0.5,"note":"2 of 4 files"}}
id: 2.0
"""

PROBLEMS: dict[int, dict[str, Any]] = {
    400: {
        "type": "urn:conclave:problem:malformed",
        "title": "The request cannot be read",
        "status": 400,
        "detail": "not JSON: trailing comma at line 3 column 1",
        "errors": [{"path": "body", "code": "json_syntax", "message": "trailing comma at line 3 column 1"}],
    },
    401: {
        "type": "urn:conclave:problem:unauthenticated",
        "title": "Nobody is signed in",
        "status": 401,
        "detail": "this needs an API key or a bearer token",
    },
    403: {
        "type": "urn:conclave:problem:forbidden",
        "title": "Signed in, and not allowed to do this",
        "status": 403,
        "detail": "'dashboard' (viewer) lacks the scope executions:start",
        "scope": "executions:start",
    },
    404: {
        "type": "urn:conclave:problem:not-found",
        "title": "No such thing",
        "status": 404,
        "detail": "there is no execution 'exec-1'",
    },
    409: {
        "type": "urn:conclave:problem:already-exists",
        "title": "The id is taken",
        "status": 409,
        "detail": "there is already another workflow 'wf-test'",
    },
    408: {
        "type": "urn:conclave:problem:too-slow",
        "title": "The body did not come in time",
        "status": 408,
        "detail": "the body was not here within 30 s",
    },
    413: {
        "type": "urn:conclave:problem:too-large",
        "title": "The body is too large",
        "status": 413,
        "detail": "a body may have 8388608 bytes at most",
        "max_bytes": 8388608,
    },
    415: {
        "type": "urn:conclave:problem:unsupported-media-type",
        "title": "The body's content type is not one of those read here",
        "status": 415,
        "detail": "the content type 'text/plain' is not read here; send one of: application/json, ...",
    },
    422: {
        "type": "urn:conclave:problem:invalid",
        "title": "The request was read and is not valid",
        "status": 422,
        "detail": "the definition has 1 fault",
        "errors": [
            {
                "path": "steps[1].depends_on[0]",
                "code": "unknown_step",
                "message": "'stepX' is no step of this workflow; its steps are: step1, step2",
            }
        ],
    },
    429: {
        "type": "urn:conclave:problem:rate-limited",
        "title": "More was asked than is allowed in this time",
        "status": 429,
        "detail": "6000 requests a minute are allowed to 'dashboard' here; there is room again in 3 s",
    },
    503: {
        "type": "urn:conclave:problem:unavailable",
        "title": "Something that this answer needs is away",
        "status": 503,
        "detail": "no answer from the orchestrator within 1.8 s: the command may still take effect; repeating this"
        " request with the same Idempotency-Key is safe",
        "execution_id": EXECUTION_ID,
    },
}
