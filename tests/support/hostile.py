"""Messages that nobody honest sends, made from a seed: what a broker takes and a service must survive."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiormq

from contracts.catalog import MESSAGES
from contracts.topology import Address, Exchange

# Durable queues of every service that takes messages, by an address that leads there and nowhere else but the auditor.
TARGETS = (
    Address(Exchange.COMMANDS, "execution.start"),
    Address(Exchange.COMMANDS, "execution.start_now"),
    Address(Exchange.COMMANDS, "execution.cancel"),
    Address(Exchange.COMMANDS, "workflow.create"),
    Address(Exchange.COMMANDS, "agent.create"),
    Address(Exchange.COMMANDS, "agent.find"),
    Address(Exchange.COMMANDS, "dead_letter.replay"),
    Address(Exchange.COMMANDS, "api_key.create"),
    Address(Exchange.AGENTS, "data_agent.any.query"),
    Address(Exchange.AGENTS, "mail.decision_agent"),
    Address(Exchange.AGENTS, "quarantine.data_agent.query"),
    Address(Exchange.RESULTS, "shard.0"),
    Address(Exchange.RESULTS, "shard.3"),
    Address(Exchange.EVENTS, "host.announced"),
    Address(Exchange.EVENTS, "host.heartbeat"),
)


@dataclass(frozen=True)
class Hostile:
    """A message as it is published. ``id`` is its message id where it has one."""

    kind: str
    address: Address
    body: bytes
    id: str
    type: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> aiormq.spec.Basic.Properties:
        return aiormq.spec.Basic.Properties(
            delivery_mode=2, message_id=self.id or None, message_type=self.type or None, **self.more
        )


def hostile_messages(seed: int, count: int) -> Iterator[Hostile]:
    """The same messages for the same seed. None of them keeps its contract, so each must become a dead letter."""
    chance = random.Random(seed)
    makers = list(_MAKERS.items())
    for number in range(count):
        kind, make = makers[number % len(makers)]
        yield make(chance, kind, chance.choice(TARGETS), f"hostile-{seed}-{number}")


def envelope(kind: str, payload: Any, message_id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": message_id,
        "type": kind,
        "sender": "orchestrator",
        "timestamp": datetime.now(UTC).isoformat(),
        "payload": payload,
        **more,
    }


Maker = Callable[[random.Random, str, Address, str], Hostile]


def _noise(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    return Hostile(kind, to, chance.randbytes(chance.randrange(0, 2_000)), message_id)


def _noise_of_a_type(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    return Hostile(kind, to, chance.randbytes(chance.randrange(0, 300)), message_id, chance.choice(list(MESSAGES)))


def _odd_json(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    texts = ["null", "[]", "{}", '""', "1e999", "NaN", '"\\ud800"', '{"type": 1}', '{"type": null}', "-0", " ", "tru"]
    return Hostile(kind, to, chance.choice(texts).encode(), message_id, chance.choice(["", *MESSAGES]))


def _unknown_type(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    name = chance.choice(["execution.start.v2", "execution.start", "", "\x00", "../../etc/passwd", "x" * 200, "💥.v1"])
    return Hostile(kind, to, json.dumps(envelope(name, {}, message_id)).encode(), message_id, name)


def _empty_payload(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    """Of a type that needs more than that; the empty payload of some types keeps its contract."""
    name = chance.choice(["execution.start.v1", "step.run.v1", "step.results.v1", "agent.create.v1", "agent.mail.v1"])
    return Hostile(kind, to, json.dumps(envelope(name, {}, message_id)).encode(), message_id, name)


def _wrong_values(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    odd = chance.choice([None, [], {}, "x" * 10_000, 10**400, -1, True, "\x00", {"a": {"b": []}}, [[[[]]]]])
    name = chance.choice(["execution.start.v1", "step.results.v1", "step.run.v1"])
    payload = dict.fromkeys(("execution_id", "host_id", "commands", "results", "agent_type", "reply_key"), odd)
    return Hostile(kind, to, json.dumps(envelope(name, payload, message_id)).encode(), message_id, name)


def _deep(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    depth = chance.choice([500, 10_000, 100_000])
    nested = "[" * depth + "]" * depth if chance.random() < 0.5 else '{"a":' * depth + "1" + "}" * depth
    body = json.dumps(envelope("execution.start.v1", {"execution_id": "deep", "inputs": 0}, message_id))
    return Hostile(kind, to, body.replace('"inputs": 0', f'"inputs": {nested}').encode(), message_id)


def _lying_type(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    inside, outside = chance.sample(sorted(MESSAGES), 2)
    return Hostile(kind, to, json.dumps(envelope(inside, {}, message_id)).encode(), message_id, outside)


def _cut_off(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    payload = {"execution_id": "cut", "definition": {"name": "x", "steps": []}, "inputs": {}}
    whole = json.dumps(envelope("execution.start.v1", payload, message_id)).encode()
    return Hostile(kind, to, whole[: chance.randrange(1, len(whole))], message_id, "execution.start.v1")


def _odd_headers(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    values: list[Any] = [
        1,
        -1.5,
        True,
        None,
        datetime.now(UTC),
        bytearray(b"\xff\xfe"),
        ["a", 1],
        {"b": {"c": 1}},
        "x" * 20_000,
    ]
    names = [
        "x-death",
        "x-delivery-count",
        "x-conclave-reason",
        "x-conclave-exchange",
        "x-conclave-replay-of",
        "a",
        "é",
    ]
    headers = {chance.choice(names): chance.choice(values) for _ in range(4)}
    return Hostile(kind, to, b"{}", message_id, more={"headers": headers})


def _odd_properties(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    more = {
        "content_type": chance.choice(["", "text/html", "application/json; charset=utf-16", "x" * 200]),
        "content_encoding": chance.choice(["gzip", "zstd", ""]),
        "priority": chance.choice([0, 255]),
        "reply_to": chance.choice(["registry", "nowhere", "amq.gen-1", "\x00", "é" * 100]),
        "correlation_id": chance.choice(["", "x" * 255, "\n\nSet-Cookie: a", "💥"]),
        "app_id": "someone",
    }
    return Hostile(kind, to, b'{"type": "execution.start.v1"}', message_id, more=more)


def _dead_before(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    """One that claims to have died already, in a queue and for a reason of its own choosing."""
    death = [{"queue": "data_agent", "reason": "delivery_limit", "count": 99, "exchange": "", "routing-keys": ["x"]}]
    headers = {"x-death": death, "x-conclave-queue": "registry", "x-conclave-detail": "<script>alert(1)</script>"}
    return Hostile(kind, to, chance.randbytes(50), message_id, more={"headers": headers})


def _false_signature(chance: random.Random, kind: str, to: Address, message_id: str) -> Hostile:
    """With what looks like a signature, or nearly; the message itself is none where nobody looks at signatures."""
    header = base64.urlsafe_b64encode(
        json.dumps(
            {"alg": chance.choice(["EdDSA", "none", "HS256"]), "kid": chance.choice(["edge-1", "", "../x"])}
        ).encode()
    ).decode()
    value = base64.urlsafe_b64encode(chance.randbytes(chance.choice([0, 32, 64]))).decode().rstrip("=")
    text = chance.choice([f"{header.rstrip('=')}..{value}", f"{header}.e30.{value}", "..", "x" * 10_000, value])
    headers = {"conclave-signature": text, "conclave-endorsement": chance.choice([text, "", value])}
    return Hostile(kind, to, b"{}", message_id, more={"headers": headers})


_MAKERS: dict[str, Maker] = {
    "noise": _noise,
    "noise of a type": _noise_of_a_type,
    "odd JSON": _odd_json,
    "unknown type": _unknown_type,
    "empty payload": _empty_payload,
    "wrong values": _wrong_values,
    "deep": _deep,
    "lying type": _lying_type,
    "cut off": _cut_off,
    "odd headers": _odd_headers,
    "odd properties": _odd_properties,
    "dead before": _dead_before,
    "false signature": _false_signature,
}
