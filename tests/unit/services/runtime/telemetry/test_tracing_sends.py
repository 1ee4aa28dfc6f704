"""The span of what is sent, and the header that it travels with."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from contracts import topology
from contracts.envelope import Message
from contracts.execution import CancelExecution, DescribeExecution, ExecutionAccepted, StartExecution
from contracts.registry import AgentMail
from services.runtime.bus.base import BusUnavailable, Frame
from services.runtime.envelope_codec import Outgoing, decode, encode
from services.runtime.service import Received
from services.runtime.settings import Settings
from services.runtime.telemetry.trace_context import carrying, read
from services.runtime.telemetry.tracing import Tracing, open_tracing
from services.runtime.telemetry.tracing_sends import SendSpans
from tests.support.otlp_receiver import OtlpReceiver

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
START, CANCEL = StartExecution(execution_id="e"), CancelExecution(execution_id="e")


class CameWith:
    """A delivery of a frame, as far as reading it goes."""

    signer, reply_to, queue = None, "asker", "somewhere"

    def __init__(self, frame: Frame) -> None:
        self.body, self.type, self.message_id, self.headers = frame.body, frame.type, frame.message_id, frame.headers


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def opened(receiver: OtlpReceiver) -> Tracing:
    wanted = {"otlp_endpoint": receiver.endpoint, "communication_protocol": "rabbitmq"}
    tracing = open_tracing(Settings.model_validate(wanted), "edge")
    assert tracing is not None
    return tracing


async def test_a_message_is_sent_under_a_span_of_its_own(receiver: OtlpReceiver) -> None:
    tracing = opened(receiver)
    with (
        carrying(SAMPLED),
        SendSpans(tracing).sending(START, topology.start_now(), correlation_id="c-1") as traceparent,
    ):
        pass
    await tracing.stop()
    (span,) = receiver.spans
    sent = read(traceparent)
    assert sent is not None
    assert (span.trace_id, span.parent_id, span.span_id) == (TRACE, SPAN, f"{sent.span_id:016x}")
    assert span.kind_and_name == ("PRODUCER", "send execution.start")
    assert span.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "conclave.commands:execution.start_now",
        "messaging.message.conversation_id": "c-1",
    }
    assert not span.failed


async def test_a_message_that_could_not_be_sent(receiver: OtlpReceiver) -> None:
    tracing = opened(receiver)
    with carrying(SAMPLED), suppress(BusUnavailable), SendSpans(tracing).sending(CANCEL):
        raise BusUnavailable("no confirm from amqp://me:secret@broker")
    await tracing.stop()
    (span,) = receiver.spans
    assert (span.failed, span.attributes["error.type"]) == (True, "BusUnavailable")
    assert span.error.startswith("BusUnavailable: no confirm from amqp://")
    assert "secret" not in span.error


@pytest.mark.parametrize(
    ("message", "current"),
    [
        pytest.param(START, UNSAMPLED, id="not sampled"),
        pytest.param(START, "", id="no trace"),
        pytest.param(DescribeExecution(execution_id="e"), SAMPLED, id="asked again and again"),
    ],
)
async def test_what_has_no_span_of_its_own_goes_on_under_the_one_in_hand(
    receiver: OtlpReceiver, message: Message, current: str
) -> None:
    tracing = opened(receiver)
    with carrying(current), SendSpans(tracing).sending(message) as traceparent:
        assert traceparent == current
    with carrying(current), SendSpans(None).sending(message) as traceparent:
        assert traceparent == current
    await tracing.stop()
    assert receiver.spans == []


def received(traceparent: str, message: Message = START) -> Received[Message]:
    frame = encode(Outgoing(message, traceparent=traceparent), "tests")
    delivery = CameWith(frame)
    accepts = {message.TYPE: type(message)}
    return Received(decode(delivery, accepts), delivery)  # type: ignore[arg-type]


def test_it_travels_as_a_message_header() -> None:
    assert encode(Outgoing(START, traceparent=SAMPLED), "tests").headers == {"traceparent": SAMPLED}
    assert encode(Outgoing(START), "tests").headers == {}
    assert received(SAMPLED).traceparent == SAMPLED
    assert received("").traceparent == received("no traceparent").traceparent == ""


def test_what_follows_from_a_message_is_sent_under_the_same_span_and_its_answer_under_none() -> None:
    came = received(SAMPLED)
    mail = AgentMail(agent_id="a", body={}, sender_id="b")
    assert came.follow(mail).traceparent == SAMPLED
    assert came.reply(ExecutionAccepted(execution_id="e")).traceparent == ""
