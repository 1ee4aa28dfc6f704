"""Spans of what a host's agents do: one for each run of a command, and one for each message that an agent is given."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from contracts.execution import RunSteps, StepCommand, StepResult
from contracts.registry import AgentMail
from services.runtime.agent import CapabilityError
from services.runtime.agent.error_text import text_of
from services.runtime.service import Received
from services.runtime.telemetry.span_sorts import SORTS, AttributeValue, Kind, Sort
from services.runtime.telemetry.trace_context import TraceContext, carry, carrying, child_of, is_sampled, read
from services.runtime.telemetry.tracing import Tracing


class OpenSpan(NamedTuple):
    context: TraceContext
    parent: TraceContext


class AgentSpans:
    """Puts agents' work under a span, and records it.

    Args:
        tracing: None where nothing is traced; what agents send then goes on under the span that their work came under.
    """

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing
        self._sort = lru_cache(SORTS)(_sort)

    def begin(self, command: StepCommand) -> OpenSpan | None:
        """From here to the end of the task, work is that of the command; gives what ``acted`` is to be told."""
        parent = read(command.traceparent) if self._tracing is not None and is_sampled(command.traceparent) else None
        if parent is None:
            carry(command.traceparent)
            return None
        context = child_of(parent)
        carry(context)
        return OpenSpan(context, parent)

    def acted(self, span: OpenSpan | None, message: RunSteps, command: StepCommand, result: StepResult) -> None:
        """A command has its result."""
        if span is None or self._tracing is None:
            return
        ended = result.finished_at or time.time()
        sort = self._sort(message.agent_type, message.action, result.agent_id, command.step, command.attempt)
        own: dict[str, AttributeValue] = {"conclave.execution.id": command.execution_id}
        if result.cached:
            own["conclave.cached"] = True
        error = ""
        if result.error is not None:
            own["error.type"] = result.error.type
            error = f"{result.error.type}: {result.error.message}"
        self._tracing.record_one(sort, span.context, span.parent, result.started_at or ended, ended, own, error)

    @contextmanager
    def reading(self, received: Received[AgentMail], agent_type: str) -> Iterator[None]:
        """A block in which an agent is given a message: what it does there is under the message's span, whose error is
        what leaves the block. Of a message that came without a trace there is none."""
        came = received.traceparent
        parent = read(came)
        if self._tracing is None or parent is None or not parent.sampled:
            with carrying(came):
                yield
            return
        context, began = child_of(parent), time.time()
        error: BaseException | None = None
        try:
            with carrying(context):
                yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            attributes = _of_mail(received, agent_type)
            attributes["messaging.system"] = self._tracing.system
            if error is not None:
                attributes["error.type"] = _name_of(error)
            self._tracing.record(
                "process agent.mail",
                kind=Kind.CONSUMER,
                context=context,
                parent=parent,
                start=began,
                end=time.time(),
                attributes=attributes,
                error="" if error is None else f"{_name_of(error)}: {text_of(error)}",
            )


def _sort(agent_type: str, action: str, agent_id: str, step: str, attempt: int) -> Sort:
    attributes: dict[str, AttributeValue] = {
        "conclave.step": step,
        "conclave.attempt": attempt,
        "conclave.agent.type": agent_type,
        "conclave.agent.id": agent_id,
        "conclave.action": action,
    }
    return Sort(f"{agent_type}.{action}", Kind.CONSUMER, attributes)


def _of_mail(received: Received[AgentMail], agent_type: str) -> dict[str, AttributeValue]:
    return {
        "conclave.agent.type": agent_type,
        "conclave.agent.id": received.message.agent_id,
        "conclave.mail.retries": received.envelope.retry_count,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": received.delivery.queue,
        "messaging.message.id": received.envelope.id,
        "messaging.message.conversation_id": received.correlation_id,
    }


def _name_of(error: BaseException) -> str:
    return error.code if isinstance(error, CapabilityError) else type(error).__name__
