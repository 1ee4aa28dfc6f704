"""The examples of the audit API."""

from typing import Any

from contracts import topology
from services.edge.agent_examples import CURSOR

_ADDRESS = topology.start_now()

ENTRY: dict[str, Any] = {
    "n": 1042,
    "at": "2026-01-31T09:30:00.125000Z",
    "actor": "key:dashboard",
    "action": "execution.start.v1",
    "subject": "exec-2f1c5b7d9a3e4f60a1b2c3d4e5f60718",
    "source": f"{_ADDRESS.exchange.value}/{_ADDRESS.key}",
    "result": "sent",
    "detail": "workflow wf-test",
    "correlation_id": "b7c1e0",
    "record_id": f"{_ADDRESS.exchange.value}/5f0c9a1e7b3d4c2f8a6e0d1b9c7f3a52/8e03978e40d543ddbc936894a57f9324",
    "previous": "9d5ed678fe57bcca610140957afab571ca5e4b1e4b0a8a0f1d9f1a7b5d2c3e4f",
    "hash": "3973e022e93220f9212c18d0d0c543ae7c309e46640da93a4a0314de999f5112",
}

PROBLEMS: dict[int, dict[str, Any]] = {
    503: {
        "type": "urn:conclave:problem:unavailable",
        "title": "Something that this answer needs is away",
        "status": 503,
        "detail": "the store is away, or does not answer in time",
    },
}

__all__ = ["CURSOR", "ENTRY", "PROBLEMS"]
