"""From the copy of a message to its record."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import to_json

from contracts import topology
from contracts.audit import AccessRecorded, AuditResult
from contracts.envelope import Message, wrap
from contracts.execution import CancelExecution, ExecutionAccepted, ExecutionCompleted, Refused, StartExecution
from contracts.registry import AgentMail, SweepHosts
from contracts.topology import Address, Exchange
from services.auditor.copies import Copy
from services.auditor.message_kinds import ANSWERS, RECORDED
from services.auditor.recording import command_of, question_of, records_of
from services.runtime.bus import delivering
from services.runtime.security.principal import Principal, SenderKind
from tests.support import audit_samples
from tests.support.audit_samples import SECRET
from tests.support.store_operations import record

NOW = 2_000_000_000.0
EDGE = Principal("edge", SenderKind.SERVICE, "k1")
ORCHESTRATOR = Principal("orchestrator", SenderKind.SERVICE, "k2")
CLIENT = Principal("billing", SenderKind.CLIENT, "k3")
CANCEL = CancelExecution(execution_id="e1", reason=SECRET)


def copy_of(message: Message, address: Address, *, signer: Principal | None = None, **fields: Any) -> Copy:
    envelope = wrap(
        message,
        sender=fields.pop("sender", "somebody"),
        correlation_id=fields.pop("correlation_id", "c1"),
        message_id=fields.pop("message_id", "m1"),
        actor=fields.pop("actor", ""),
    )
    body = envelope.model_dump_json().encode()
    return Copy(
        exchange=address.exchange.value,
        routing_key=address.key,
        type=message.TYPE,
        message_id=envelope.id,
        correlation_id=envelope.correlation_id,
        **{"body": body, "signer": signer, **fields},
    )


def command(message: Message = CANCEL, **fields: Any) -> Copy:
    return copy_of(message, message.address(), **fields)


def answer(message: Message, **fields: Any) -> Copy:
    return copy_of(message, topology.reply("reply.edge.1"), **fields)


def dead(reason: str, detail: str = "", **fields: Any) -> Copy:
    """A command that died, as our services move it."""
    copy = command(**fields)
    story = {
        delivering.REASON: reason,
        delivering.DETAIL: detail,
        delivering.EXCHANGE: copy.exchange,
        delivering.ROUTING_KEY: copy.routing_key,
        delivering.QUEUE: "orchestrator.commands",
        delivering.DIED_AT: "1999999999.5",
        delivering.BURIAL: "b1",
    }
    return replace(copy, exchange=Exchange.DEAD.value, routing_key=reason, headers=story)


def recorded(copy: Copy, asked: dict[str, str] | None = None) -> Any:
    (one,) = records_of(copy, NOW, (asked or {}).get)
    assert SECRET not in one.model_dump_json()
    return one


def by_type(pairs: list[tuple[Message, str]]) -> Any:
    return pytest.mark.parametrize(("message", "subject"), pairs, ids=[message.TYPE for message, _ in pairs])


@by_type(audit_samples.COMMANDS)
def test_a_command_is_sent(message: Message, subject: str) -> None:
    one = recorded(command(message, signer=EDGE, actor="key:zoe"))
    assert (one.action, one.subject, one.result, one.actor) == (message.TYPE, subject, AuditResult.SENT, "key:zoe")
    assert one.source == f"conclave.commands/{message.address().key}"
    assert (one.correlation_id, command_of(one)) == ("c1", "m1")


@by_type(audit_samples.ANSWERS)
def test_an_answer_is_done_or_refused_under_its_commands_correlation(message: Message, subject: str) -> None:
    copy = answer(message, signer=ORCHESTRATOR, actor="key:zoe", correlation_id="question")
    assert question_of(copy) == "question"
    one = recorded(copy, {"question": "c9"})
    expected = AuditResult.REFUSED if message.TYPE == Refused.TYPE else AuditResult.DONE
    assert (one.action, one.subject, one.result) == (message.TYPE, subject, expected)
    assert (one.actor, one.correlation_id) == ("service:orchestrator", "c9")
    assert one.detail.endswith("for key:zoe")
    assert command_of(one) == ""


@by_type(audit_samples.EVENTS)
def test_an_end_is_done_or_failed(message: Message, subject: str) -> None:
    one = recorded(copy_of(message, message.address(), signer=ORCHESTRATOR))
    assert (one.action, one.subject, one.result) == (message.TYPE, subject, RECORDED[message.TYPE].result)
    assert one.result is (AuditResult.FAILED if message.TYPE == "execution.failed.v1" else AuditResult.DONE)


def test_a_failed_end_says_which_steps_failed_and_of_what_kind() -> None:
    failed = next(message for message, _ in audit_samples.EVENTS if message.TYPE == "execution.failed.v1")
    assert recorded(copy_of(failed, failed.address(), signer=ORCHESTRATOR)).detail == "one: ForbiddenPath"


def test_an_answer_to_what_is_not_known_keeps_the_questions_id() -> None:
    assert (
        recorded(answer(ExecutionAccepted(execution_id="e1"), correlation_id="question")).correlation_id == "question"
    )


def test_what_a_refusal_says_is_its_code_and_its_faults_but_no_words_of_it() -> None:
    refused = next(message for message, _ in audit_samples.ANSWERS if message.TYPE == Refused.TYPE)
    assert recorded(answer(refused)).detail == "code invalid, duplicate_id at steps[0].id"
    as_event = recorded(copy_of(refused, refused.address(), signer=ORCHESTRATOR))
    assert (as_event.result, as_event.correlation_id) == (AuditResult.REFUSED, "c1")


@pytest.mark.parametrize(
    ("signer", "actor", "expected"),
    [
        (EDGE, "key:zoe", "key:zoe"),
        (EDGE, "user:zoe@x", "user:zoe@x"),
        (EDGE, "anonymous", "anonymous"),
        (EDGE, "service:orchestrator", "service:edge"),
        (EDGE, "", "service:edge"),
        (ORCHESTRATOR, "key:zoe", "service:orchestrator"),
        (CLIENT, "key:zoe", "client:billing"),
        (Principal("data_agent", SenderKind.AGENT, "k4"), "", "agent:data_agent"),
        (Principal("edge", SenderKind.AGENT, "k4"), "key:zoe", "agent:edge"),
        (None, "key:zoe", "unverified:key:zoe"),
        (None, "", "unverified:somebody"),
    ],
)
def test_who_it_was(signer: Principal | None, actor: str, expected: str) -> None:
    assert recorded(command(signer=signer, actor=actor)).actor == expected


def test_when_it_was() -> None:
    copy = command(signer=EDGE)
    at = recorded(copy).at
    assert abs(at - datetime.now(UTC).timestamp()) < 60
    (late,) = records_of(replace(copy, signer=None), at - 10, {}.get)
    assert late.at == at - 10  # it claims to be from the future


@pytest.mark.parametrize("message", [SweepHosts(), AgentMail(agent_id="a", body={})])
def test_work_and_signs_of_life_are_not_recorded(message: Message) -> None:
    assert records_of(command(message, signer=EDGE), NOW, {}.get) == []


# ---- dead letters


@pytest.mark.parametrize("reason", topology.DEAD_LETTER_REASONS)
def test_every_dead_letter_is_recorded_with_its_reason(reason: str) -> None:
    one = recorded(dead(reason, "why"))
    failed = reason in ("agent-failed", "handler-failed", "delivery-limit")
    assert one.result is (AuditResult.FAILED if failed else AuditResult.REFUSED)
    assert one.detail.startswith(reason)
    assert (one.actor, one.subject, one.at) == ("unverified:somebody", "e1", 1_999_999_999.5)
    assert (one.action, one.source) == (CANCEL.TYPE, "conclave.commands/execution.cancel")


@pytest.mark.parametrize("reason", ["refused", "handler-failed", "agent-failed", "agent-removed"])
def test_words_of_handlers_stay_out(reason: str) -> None:
    assert recorded(dead(reason, f"it says {SECRET}")).detail == reason


def test_a_forgery_is_on_record_with_who_it_claimed_to_be() -> None:
    forged = replace(dead("bad-signature", "altered", sender="orchestrator"), fault="bad-signature: altered")
    one = recorded(forged)
    assert (one.actor, one.detail) == ("unverified:orchestrator", "bad-signature: altered")


def test_one_who_may_not_is_on_record_by_name() -> None:
    one = recorded(dead("forbidden-sender", "client billing may not send this", signer=CLIENT))
    assert (one.actor, one.result) == ("client:billing", AuditResult.REFUSED)


def test_what_the_broker_itself_moved() -> None:
    copy = replace(command(), exchange="conclave.dead", routing_key="delivery-limit", died_in="orchestrator.commands")
    one = recorded(copy)
    assert (one.detail, one.source, one.at) == ("delivery-limit", "orchestrator.commands", NOW)


# ---- what cannot be opened or read

UNREADABLE = [
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":1}',
    b'{"payload":[]}',
    b"null",
    b'{"id":5,"sender":["x"],"actor":{},"payload":{"execution_id":[1]}}',
    b'{"payload":{"execution_id":"\\ud800"}}',
    to_json({"id": "x" * 5_000, "sender": "y" * 5_000, "payload": {"execution_id": "z" * 5_000}}),
    to_json({"id": "\0", "sender": "a\0b", "payload": {"execution_id": "\0"}}),
    to_json({"timestamp": "yesterday", "payload": {}}),
    to_json({"timestamp": "0001-01-01T00:00:00+23:59", "payload": {}}),
]


@pytest.mark.parametrize("kind", ["", "execution.cancel.v1", "command.refused.v1", "audit.access.v1", "x" * 5_000])
@pytest.mark.parametrize("body", UNREADABLE, ids=range(len(UNREADABLE)))
def test_whatever_it_is_there_is_a_record(body: bytes, kind: str) -> None:
    for exchange in (*(e.value for e in Exchange), "x" * 5_000):
        hard = {"body": body, "type": kind, "message_id": "i" * 5_000, "correlation_id": "\0c" * 500}
        copy = replace(command(), exchange=exchange, routing_key="k" * 5_000, **hard)
        one = recorded(copy)
        assert one.id
        assert one.action
        assert "\\u0000" not in one.model_dump_json()


def test_what_cannot_be_opened_is_refused() -> None:
    encrypted = replace(command(), body=b"eyJ..x.y.z", fault="undecryptable: no such key")
    one = recorded(encrypted)
    assert (one.result, one.detail, one.actor) == (
        AuditResult.REFUSED,
        "undecryptable: no such key",
        "unverified:(nameless)",
    )
    unsigned = recorded(replace(command(sender="orchestrator"), fault="unsigned: no header"))
    assert (unsigned.result, unsigned.actor, unsigned.subject) == (
        AuditResult.REFUSED,
        "unverified:orchestrator",
        "e1",
    )


def test_secrets_are_masked() -> None:
    one = recorded(dead("contract", "password=hunter2hunter2", sender="amqp://u:hunter2hunter2@h"))
    assert "hunter2" not in one.model_dump_json()
    assert "***" in one.detail
    assert "***" in one.actor


# ---- large bodies


def large(**fields: Any) -> Copy:
    message = StartExecution(execution_id="e1", inputs={"blob": "x" * 5_000_000})
    return command(message, **fields)


def test_of_a_large_body_of_our_own_only_the_beginning_is_read() -> None:
    one = recorded(large(signer=EDGE, actor="key:zoe"))
    assert (one.actor, one.subject, one.correlation_id) == ("key:zoe", "e1", "c1")


def test_what_others_sign_is_read_whole_so_that_nothing_is_hidden_behind_it() -> None:
    body = b'{"id":"m1","sender":"s","payload":{"execution_id":"e1","pad":"' + b"x" * 200_000
    body += b'"},"payload":{"execution_id":"e2"}}'
    assert recorded(replace(large(signer=CLIENT), body=body)).subject == "e2"


# ---- the same happening, and others


def test_a_copy_that_is_delivered_again_is_the_same_record() -> None:
    for copy in (command(), dead("contract"), answer(ExecutionAccepted(execution_id="e1")), large()):
        assert recorded(copy).id == recorded(replace(copy)).id


@pytest.mark.parametrize(
    "change",
    [
        {"body": b"{}"},
        {"message_id": "m2"},
        {"routing_key": "execution.start"},
        {"type": "execution.start.v1"},
        {"correlation_id": "c2"},
    ],
)
def test_another_message_is_another_record(change: dict[str, Any]) -> None:
    assert recorded(replace(command(), **change)).id != recorded(command()).id


def test_the_same_message_that_dies_twice_is_on_record_twice() -> None:
    copy = dead("replayed")
    again = replace(copy, headers={**copy.headers, delivering.DIED_AT: "1999999999.75"})
    assert recorded(copy).id != recorded(again).id


def test_an_end_that_is_told_twice_is_one_end() -> None:
    message = ExecutionCompleted(execution_id="e1", workflow_name="w")
    first, again, other = (
        recorded(copy_of(message, message.address(), signer=signer, message_id=message_id)).id
        for signer, message_id in ((ORCHESTRATOR, "m1"), (ORCHESTRATOR, "m2"), (None, "m1"))
    )
    assert first == again != other


# ---- what the edge says of requests


def accesses(signer: Principal | None, **fields: Any) -> Copy:
    message = AccessRecorded(records=(record("access/1", **fields), record("access/2")))
    return copy_of(message, message.address(), signer=signer)


def test_the_edges_records_are_taken_as_they_are() -> None:
    first, second = records_of(accesses(EDGE, actor="key:zoe"), NOW, {}.get)
    assert (first, second) == (record("access/1", actor="key:zoe"), record("access/2"))


def test_unsigned_they_are_what_they_claim() -> None:
    first, _ = records_of(accesses(None, actor="key:zoe", at=NOW + 100, detail="password=hunter2hunter2"), NOW, {}.get)
    assert (first.actor, first.at, first.detail) == ("unverified:key:zoe", NOW, "password=***")


@pytest.mark.parametrize("signer", [CLIENT, ORCHESTRATOR, Principal("edge", SenderKind.AGENT, "k9")])
def test_nobody_else_says_what_was_asked_of_the_edge(signer: Principal) -> None:
    one = recorded(accesses(signer))
    assert (one.result, one.actor) == (AuditResult.REFUSED, f"{signer.kind}:{signer.name}")
    assert "forbidden-sender" in one.detail


def test_only_answers_have_questions() -> None:
    assert question_of(command()) == ""
    assert question_of(copy_of(Refused(code="invalid", message="m"), topology.event("command.refused"))) == ""
    assert "agent.reply.v1" not in ANSWERS
