"""The examples of the dead-letter API."""

from typing import Any

from contracts import topology
from services.edge.agent_examples import AGENT_ID, CURSOR, MESSAGE_ID

LETTER_ID = "8a6f2f0c5d6e4c0f9e5b1f7a3c2d4e6f"
DIED_AT = "2026-01-31T09:31:00.000000Z"

_ADDRESS = topology.agent_mail(AGENT_ID)
_BODY: dict[str, Any] = {
    "id": MESSAGE_ID,
    "type": "agent.mail.v1",
    "sender": "edge",
    "timestamp": "2026-01-31T09:30:00Z",
    "retry_count": 3,
    "payload": {"agent_id": AGENT_ID, "body": {"action": "make_decision", "inputs": {}}, "sender_id": "key:dashboard"},
}

SUMMARY: dict[str, Any] = {
    "dead_letter_id": LETTER_ID,
    "reason": "agent-failed",
    "detail": "agent 'chooser' failed on it 4 times; at last: KeyError: 'price'",
    "queue": topology.agent_queue("decision_agent", AGENT_ID).name,
    "exchange": _ADDRESS.exchange.value,
    "routing_key": _ADDRESS.key,
    "message_id": MESSAGE_ID,
    "type": "agent.mail.v1",
    "correlation_id": "b7c1e0",
    "reply_to": "",
    "size": 431,
    "died_at": DIED_AT,
    "preview": f'{{"id":"{MESSAGE_ID}","type":"agent.mail.v1","sender":"edge"',
    "href": f"/api/v1/monitoring/dead-letters/{LETTER_ID}",
}
WHOLE = {**SUMMARY, "headers": {}, "body": _BODY, "body_format": "json"}
REPLAYED = {"dead_letter_id": LETTER_ID, "status": "replayed"}
DISCARDED = {"dead_letter_id": LETTER_ID, "status": "discarded"}

PROBLEMS: dict[int, dict[str, Any]] = {
    404: {
        "type": "urn:conclave:problem:not-found",
        "title": "No such thing",
        "status": 404,
        "detail": f"there is no dead letter {LETTER_ID!r}: it may have been replayed or discarded",
    },
    409: {
        "type": "urn:conclave:problem:conflict",
        "title": "In conflict with what is stored",
        "status": 409,
        "detail": f"dead letter {LETTER_ID!r} was never published to an exchange that takes it again",
    },
    503: {
        "type": "urn:conclave:problem:unavailable",
        "title": "Something that this answer needs is away",
        "status": 503,
        "detail": "no answer from the dead-letter service within 1.8 s: the command may still take effect; repeating"
        " this request is safe, and 404 then says that it was done",
        "dead_letter_id": LETTER_ID,
    },
}

__all__ = ["CURSOR", "DISCARDED", "LETTER_ID", "PROBLEMS", "REPLAYED", "SUMMARY", "WHOLE"]
