"""From the wire to the mailbox: what is received becomes items for the committer."""

from collections.abc import Sequence
from typing import Any

from contracts.execution import (
    CancelAccepted,
    CancelExecution,
    ExecutionAccepted,
    Refused,
    StartExecution,
    StepProgress,
    StepResult,
    StepResults,
    StepsProgressed,
    WakeExecutions,
    WakeUp,
)
from contracts.workflow import Fault, content_hash
from services.orchestrator.admission import Admission, Known, StartReceipt
from services.orchestrator.affinity import Affinity
from services.orchestrator.counting import Uncounted
from services.orchestrator.definitions import Definitions
from services.orchestrator.engine import Cancel, Plan, Start
from services.orchestrator.mailbox import Item, Mailbox, Outcome, Receipt
from services.orchestrator.outgoing import BatchSizes
from services.orchestrator.payloads import INLINE_LIMIT, reference
from services.orchestrator.spans import started_under
from services.orchestrator.workflows import Workflows
from services.runtime.definitions.json_values import JsonCopy
from services.runtime.envelope_codec import Outgoing
from services.runtime.security.principal import SenderKind
from services.runtime.service import Received, Refusal
from services.runtime.telemetry.tracing import Tracing
from services.runtime.telemetry.workflow_metrics import WorkflowMetrics


class Intake:
    """The orchestrator's intakes: each takes over a message and hands its items to the committer."""

    def __init__(
        self,
        mailbox: Mailbox,
        definitions: Definitions,
        workflows: Workflows,
        sizes: BatchSizes,
        admission: Admission,
        known: Known,
        affinity: Affinity,
        tracing: Tracing | None = None,
        metrics: WorkflowMetrics | None = None,
    ) -> None:
        self._mailbox = mailbox
        self._definitions = definitions
        self._workflows = workflows
        self._sizes = sizes
        self._admission = admission
        self._known = known
        self._affinity = affinity
        self._tracing = tracing
        self._metrics = metrics or Uncounted().metrics

    async def start(self, received: Received[StartExecution]) -> None:
        """A start: let in if there is room or its execution exists, else refused, or held if nobody waits for the
        answer.

        Raises:
            Refusal: there is no room, or something is wrong with it.
        """
        try:
            await self._take_start(received)
        except Refusal as refusal:
            self._metrics.start_refused(refusal.refused.code)
            raise

    async def _take_start(self, received: Received[StartExecution]) -> None:
        now = received.wants_reply
        room = self._admission.has_room(now=now)
        if not room and await self._known(received.message.execution_id):
            self._mailbox.put(await self._start(received, Receipt(received.delivery, 1)))
            return
        if not room and now:
            raise self._admission.refusal(received.message.execution_id)
        receipt = StartReceipt(received.delivery, self._admission)
        if room:
            # Before anything is awaited: others look for room meanwhile.
            receipt.enter()
        try:
            item = await self._start(received, receipt)
        except BaseException:
            receipt.leave()
            raise
        if room:
            self._mailbox.put(item)
        else:
            self._admission.wait(received.envelope.id, item, receipt)

    async def _start(self, received: Received[StartExecution], receipt: Receipt) -> Item:
        """What the committer is given: the definition is checked and stored before anything else hears of it."""
        message = received.message
        _check_inputs(message)
        plan = await self._plan_of(message)
        body = {"definition": plan.definition_hash, "workflow": message.workflow_id, "inputs": message.inputs}
        start = Start(
            definition_hash=plan.definition_hash,
            request_hash=content_hash(body),
            workflow_name=plan.definition.name,
            workflow_id=message.workflow_id,
            inputs=message.inputs,
            inputs_ref=_reference(received, message.execution_id, message.inputs),
            client=message.client,
            correlation_id=received.correlation_id,
            traceparent=started_under(self._tracing, message.execution_id, received.traceparent),
        )
        return Item(
            message.execution_id,
            start,
            receipt,
            plan=plan,
            answer=_accepted(received) if received.wants_reply else None,
            size=len(received.delivery.body),
        )

    async def cancel(self, received: Received[CancelExecution]) -> None:
        message = received.message
        signer = received.delivery.signer
        client = signer.name if signer is not None and signer.kind is SenderKind.CLIENT else None
        item = Item(
            message.execution_id,
            Cancel(message.reason, client),
            Receipt(received.delivery, 1),
            answer=_cancelled(received) if received.wants_reply else None,
        )
        self._mailbox.put(item)

    async def results(self, received: Received[StepResults]) -> None:
        """Results of one shard. Their measured durations say how many commands travel together from now on."""
        message = received.message
        # Not from the shard that the message names: whose host lies would have all results sent to where nobody is.
        self._affinity.heard_from(received.delivery.routing_key)
        receipt = Receipt(received.delivery, len(message.results))
        share = len(received.delivery.body) // max(1, len(message.results))
        for result in message.results:
            if result.ok and not result.cached and result.started_at and result.finished_at:
                self._sizes.observe(
                    message.agent_type, message.action, max(0.0, result.finished_at - result.started_at)
                )
        items = [
            Item(
                result.execution_id,
                _with_reference(received, result),
                receipt,
                size=share,
                place=place,
                answered_by=message.agent_type,
            )
            for place, result in enumerate(message.results)
        ]
        if items:
            self._mailbox.put(*items)
        else:
            await received.delivery.ack()

    async def progress(self, received: Received[StepsProgressed]) -> None:
        """How far the steps of one shard are."""
        await self._take_over(received, received.message.reports, answered_by=received.message.agent_type)

    async def wake(self, received: Received[WakeExecutions]) -> None:
        await self._take_over(received, received.message.wake_ups)

    async def _take_over(
        self, received: Received[Any], messages: Sequence[StepProgress | WakeUp], answered_by: str | None = None
    ) -> None:
        receipt = Receipt(received.delivery, len(messages))
        if messages:
            self._mailbox.put(
                *(
                    Item(message.execution_id, message, receipt, place=place, answered_by=answered_by)
                    for place, message in enumerate(messages)
                )
            )
        else:
            await received.delivery.ack()

    async def _plan_of(self, message: StartExecution) -> Plan:
        if (message.workflow_id is None) == (message.definition is None):
            fault = Fault(path="", code="one_of", message="give either a workflow_id or a definition")
            raise Refusal(Refused(code="invalid", message=fault.message, faults=(fault,)))
        if message.workflow_id is not None:
            return await self._workflows.plan(message.workflow_id)
        return await self._definitions.accept(message.definition or {})


def _check_inputs(message: StartExecution) -> None:
    faults = JsonCopy({"inputs": message.inputs}, levels_above_inputs=1).faults
    if faults:
        text = f"the inputs have {len(faults)} fault{'s' if len(faults) != 1 else ''}"
        raise Refusal(Refused(code="invalid", subject=message.execution_id, message=text, faults=tuple(faults)))


def _accepted(received: Received[StartExecution]) -> Any:
    def answer(outcome: Outcome) -> Outgoing[Any]:
        if outcome.conflict:
            message = f"execution {outcome.execution_id!r} was already started with another definition or inputs"
            return received.reply(Refused(code="conflict", subject=outcome.execution_id, message=message))
        accepted = ExecutionAccepted(
            execution_id=outcome.execution_id, workflow_id=outcome.workflow_id, repeated=not outcome.changed
        )
        return received.reply(accepted)

    return answer


def _cancelled(received: Received[CancelExecution]) -> Any:
    def answer(outcome: Outcome) -> Outgoing[Any]:
        # Who may not cancel it is not told that it exists.
        if outcome.unknown or outcome.forbidden or outcome.status is None:
            message = f"no execution {outcome.execution_id!r} has been started"
            return received.reply(Refused(code="not_found", subject=outcome.execution_id, message=message))
        return received.reply(CancelAccepted(execution_id=outcome.execution_id, status=outcome.status))

    return answer


def _reference(received: Received[Any], execution_id: str, value: Any) -> Any:
    """A payload reference if the value is large; nothing in a small message can be."""
    return reference(execution_id, value) if len(received.delivery.body) > INLINE_LIMIT else None


def _with_reference(received: Received[Any], result: StepResult) -> StepResult:
    ref = _reference(received, result.execution_id, result.output) if result.ok else None
    # What the agent says of a reference is not believed: only what is stored here has one.
    return result if ref is result.output_ref else result.model_copy(update={"output_ref": ref})
