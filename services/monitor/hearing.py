"""What the monitor hears: reports of processes, and how executions end."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from contracts.execution import ExecutionCancelled, ExecutionCompleted, ExecutionEndedEvent, ExecutionFailed
from contracts.history import ExecutionStatus
from contracts.monitoring import ProcessReported
from services.monitor.ending_rates import EndingRates
from services.monitor.reports import Reports
from services.monitor.workflow_health import end_of
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received

_STATUSES: dict[type[ExecutionEndedEvent], ExecutionStatus] = {
    ExecutionCompleted: ExecutionStatus.COMPLETED,
    ExecutionFailed: ExecutionStatus.FAILED,
    ExecutionCancelled: ExecutionStatus.CANCELLED,
}


class Hearing:
    def __init__(self, reports: Reports, rates: EndingRates, clock: Callable[[], float] = time.time) -> None:
        self._reports = reports
        self._rates = rates
        self._clock = clock

    async def reported(self, received: Received[ProcessReported]) -> Iterable[Outgoing[Any]]:
        self._reports.hear(received.message, received.envelope.sender)
        return ()

    async def ended(self, received: Received[ExecutionEndedEvent]) -> Iterable[Outgoing[Any]]:
        event = received.message
        self._rates.ended(end_of(event, _STATUSES[type(event)], self._clock()))
        return ()
