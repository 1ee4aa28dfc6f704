"""Spans of messages on their way out: the producer's half, under whatever sends them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from contracts.envelope import Message
from contracts.execution import DescribeExecution
from contracts.topology import Address
from services.runtime.telemetry.span_sorts import AttributeValue, Kind
from services.runtime.telemetry.trace_context import child_of, current_traceparent, read
from services.runtime.telemetry.tracing import Tracing

# Asked again and again by whoever waits for an execution: its spans would hide all others.
_POLLS = frozenset({DescribeExecution.TYPE})


class SendSpans:
    """Says under which span a message is sent.

    Args:
        tracing: None where nothing is traced; messages then go on under the span that the work came under.
    """

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    @contextmanager
    def sending(self, message: Message, to: Address | None = None, *, correlation_id: str = "") -> Iterator[str]:
        """A block in which a message is sent, and its answer awaited if there is to be one; gives the traceparent that
        it is to carry. An error that leaves the block is the span's."""
        current = current_traceparent()
        parent = read(current)
        if self._tracing is None or parent is None or not parent.sampled or message.TYPE in _POLLS:
            yield current
            return
        context, began, error = child_of(parent), time.time(), None
        try:
            yield context.traceparent
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._tracing.record(
                f"send {name_of(message)}",
                kind=Kind.PRODUCER,
                context=context,
                parent=parent,
                start=began,
                end=time.time(),
                attributes=self._attributes(self._tracing, to or message.address(), correlation_id, error),
                error=f"{type(error).__name__}: {error}" if error is not None else "",
            )

    def _attributes(
        self, tracing: Tracing, to: Address, correlation_id: str, error: BaseException | None
    ) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {
            "messaging.system": tracing.system,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": f"{to.exchange.value}:{to.key}",
        }
        if correlation_id:
            attributes["messaging.message.conversation_id"] = correlation_id
        if error is not None:
            attributes["error.type"] = type(error).__name__
        return attributes


def name_of(message: Message) -> str:
    """A message's type without its version: ``execution.start``."""
    return message.TYPE.rsplit(".", 1)[0]
