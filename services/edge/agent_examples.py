"""The examples of the agent API: one decision agent with ways of its own, created, asked and stopped."""

from typing import Any

AGENT_ID = "chooser"
HOST_ID = "decision_agent-3f9a1c07"
MESSAGE_ID = "msg-6d0f6b0e6f1b4c55a1c3f0d2b8e7a914"
BROADCAST_ID = "broadcast-1b7e2f1a9c3d4e5f8a6b7c8d9e0f1a2b"
CURSOR = "eyJpZCI6ImNob29zZXIifQ"
CREATED_AT = "2026-01-31T09:30:00.000000Z"

_CONFIG: dict[str, Any] = {"method": "weighted_sum", "weights": {"price": 0.7, "quality": 0.3}}
_NO_LIMITS: dict[str, Any] = {
    "concurrency": None,
    "rate": None,
    "max_input_bytes": None,
    "max_output_bytes": None,
    "capabilities": {},
}

NEW_AGENT: dict[str, Any] = {
    "agent_type": "decision_agent",
    "agent_id": AGENT_ID,
    "config": _CONFIG,
    "limits": {"concurrency": 4, "rate": 50},
}

AGENT: dict[str, Any] = {
    "agent_id": AGENT_ID,
    "agent_type": "decision_agent",
    "status": "idle",
    "capabilities": ["evaluate_table", "make_decision"],
    "config": _CONFIG,
    "limits": {**_NO_LIMITS, "concurrency": 4, "rate": 50.0},
    "hosts": [HOST_ID],
    "default": False,
    "created_at": CREATED_AT,
    "error": "",
    "href": f"/api/v1/agents/{AGENT_ID}",
    "links": {"message": f"/api/v1/agents/{AGENT_ID}/message", "types": "/api/v1/agents/types"},
}

NEW_MESSAGE: dict[str, Any] = {
    "payload": {
        "action": "make_decision",
        "inputs": {
            "data": [{"name": "A", "price": 10, "quality": 3}, {"name": "B", "price": 12, "quality": 5}],
            "alternatives": "name",
            "criteria": [{"name": "price", "direction": "cost"}, {"name": "quality"}],
        },
    }
}
SENT = {"message_id": MESSAGE_ID, "status": "sent", "timestamp": CREATED_AT}
ANSWERED = {**SENT, "status": "answered", "reply": {"decision": "B"}}

NEW_BROADCAST: dict[str, Any] = {
    "payload": {"season": "winter"},
    "message_type": "season_changed",
    "filter": {"capability": "make_decision", "status": ["idle", "processing"]},
}
BROADCAST_SENT: dict[str, Any] = {
    "broadcast_id": BROADCAST_ID,
    "status": "sent",
    "timestamp": CREATED_AT,
    "agent_ids": [AGENT_ID, "decision_agent"],
    "count": 2,
}

STOPPED = {
    "agent_id": AGENT_ID,
    "status": "stopped",
    "message": "Agent removed successfully",
    "undelivered": 0,
}
STOPPING = {
    "agent_id": AGENT_ID,
    "status": "stopping",
    "message": "What the agent works on has not ended yet; it takes nothing new, and is removed at its end",
}

TYPES: dict[str, Any] = {
    "items": [
        {
            "agent_type": "decision_agent",
            "description": "Makes decisions.",
            "status": "available",
            "capabilities": [
                {
                    "name": "make_decision",
                    "description": "Rank alternatives by criteria.",
                    "input_schema": {"type": "object", "required": ["data"], "properties": {"data": {"type": "array"}}},
                    "output_schema": {"type": "object", "properties": {"decision": {"type": "string"}}},
                }
            ],
            "message_types": ["season_changed"],
            "config_schema": {"type": "object", "properties": {"method": {"type": "string"}}},
            "limits": _NO_LIMITS,
            "hosts": [{"host_id": HOST_ID, "service": "decision_agent", "available": True, "last_seen": CREATED_AT}],
        }
    ],
    "faults": [
        {
            "plugin": "weather",
            "source": "plugins/weather.py",
            "error": "ModuleNotFoundError: No module named 'barometer'",
            "traceback": "Traceback (most recent call last): ...",
            "host_id": "plugin_agent-71d2e8b4",
        }
    ],
}

PROBLEMS: dict[int, dict[str, Any]] = {
    404: {
        "type": "urn:conclave:problem:not-found",
        "title": "No such thing",
        "status": 404,
        "detail": f"there is no agent {AGENT_ID!r}; GET /api/v1/agents lists those there are",
    },
    409: {
        "type": "urn:conclave:problem:already-exists",
        "title": "The id is taken",
        "status": 409,
        "detail": f"there is already an agent {AGENT_ID!r}",
    },
    422: {
        "type": "urn:conclave:problem:invalid",
        "title": "The request was read and is not valid",
        "status": 422,
        "detail": "the configuration has 1 fault",
        "errors": [
            {
                "path": "body.config.method",
                "code": "enum",
                "message": "'best' is not one of: weighted_sum, topsis, vikor, promethee",
            }
        ],
    },
    503: {
        "type": "urn:conclave:problem:unavailable",
        "title": "Something that this answer needs is away",
        "status": 503,
        "detail": "no host of type 'decision_agent' is there now",
        "agent_id": AGENT_ID,
    },
}

MESSAGE_PROBLEMS: dict[int, dict[str, Any]] = {
    **PROBLEMS,
    409: {
        "type": "urn:conclave:problem:conflict",
        "title": "In conflict with what is stored",
        "status": 409,
        "detail": f"agent {AGENT_ID!r} is stopping and takes no messages any more",
    },
    422: {
        "type": "urn:conclave:problem:agent-failed",
        "title": "The agent could not answer",
        "status": 422,
        "detail": f"agent {AGENT_ID!r} could not answer: decision_agent has no action 'decide'; it has evaluate_table,"
        " make_decision",
        "agent_id": AGENT_ID,
        "message_id": MESSAGE_ID,
        "code": "UnknownAction",
    },
    503: {
        "type": "urn:conclave:problem:unavailable",
        "title": "Something that this answer needs is away",
        "status": 503,
        "detail": f"agent {AGENT_ID!r} has no queue: no host has begun to run it; nothing was sent",
        "message_id": MESSAGE_ID,
    },
    504: {
        "type": "urn:conclave:problem:no-reply",
        "title": "The agent did not answer in time",
        "status": 504,
        "detail": f"no answer from agent {AGENT_ID!r} within 30 s. The message was sent and may still be handled; its"
        " answer will not be kept. `timeout` waits longer",
        "agent_id": AGENT_ID,
        "message_id": MESSAGE_ID,
    },
}
