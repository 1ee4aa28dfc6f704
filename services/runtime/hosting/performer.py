"""One command to one result: cache, limits, timeout, cancellation, and every failure by its name."""

import asyncio
import hashlib
import itertools
import time
from dataclasses import dataclass
from typing import Any

import structlog
from cachetools import TLRUCache
from pydantic_core import from_json, to_json

from contracts.envelope import new_id
from contracts.execution import StepCommand, StepResult
from contracts.history import StepError
from services.runtime.agent import AgentStopped, BaseAgent, CapabilityError
from services.runtime.agent.error_text import text_of
from services.runtime.agent.step_context import StepContext, WorkCancelled, working_on
from services.runtime.hosting.cancellation import Cancellations
from services.runtime.hosting.counting import Uncounted, WorkCounts
from services.runtime.hosting.outcomes import is_ours_to_obey, sendable_size
from services.runtime.hosting.progress import ProgressSender, Reporter
from services.runtime.hosting.quarantine import AgentCrashed, Quarantine
from services.runtime.masking import masked

log = structlog.get_logger(__name__)

_LARGEST_DETAILS = 16 * 1024
_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cached:
    output: Any
    size: int
    ttl: float


@dataclass(slots=True)
class Run:
    """One run of a command; ``started_at`` is when its work began, epoch seconds."""

    id: str
    agent: BaseAgent
    action: str
    command: StepCommand
    alone: bool
    started_at: float

    def result(self, **what: Any) -> StepResult:
        return StepResult(
            result_id=self.id,
            execution_id=self.command.execution_id,
            step=self.command.step,
            attempt=self.command.attempt,
            agent_id=self.agent.agent_id,
            started_at=self.started_at,
            finished_at=time.time(),
            **what,
        )


class Performer:
    """Runs commands on agents. Always answers with a result; nothing an agent does comes out as an exception."""

    def __init__(
        self,
        quarantine: Quarantine,
        progress: ProgressSender,
        cancellations: Cancellations,
        counts: WorkCounts | None = None,
    ) -> None:
        self._quarantine = quarantine
        self._progress = progress
        self._cancellations = cancellations
        self._counts = counts or Uncounted()
        # One random part a process and a number a run: as unique as an id of its own each, at a tenth of the cost.
        self._process_id = new_id()
        self._runs = itertools.count(1)
        self._cache: TLRUCache[str, Cached] = TLRUCache(
            _CACHE_BYTES, ttu=lambda _, cached, now: now + cached.ttl, getsizeof=lambda cached: cached.size
        )

    async def perform(
        self, agent: BaseAgent, action: str, command: StepCommand, *, alone: bool = False
    ) -> tuple[StepResult, int]:
        """The command's result and roughly its size in bytes. ``alone`` runs it in a process of its own."""
        run = Run(f"{self._process_id}-{next(self._runs)}", agent, action, command, alone, time.time())
        key = _cache_key(agent, action, command) if command.cache_ttl else None
        cached = self._cache.get(key) if key else None
        if cached is not None:
            return run.result(ok=True, output=cached.output, cached=True), cached.size
        reporter = Reporter(self._progress, command, agent.agent_type, agent.agent_id, run.id)
        context = StepContext(command.execution_id, command.step, command.attempt, command.correlation_id, reporter)
        try:
            with self._cancellations.cancellable(command.id, context):
                async with agent.admitted(action):
                    output = await self._in_time(run, context, reporter)
            size = sendable_size(output, f"the output of {action}")
        except BaseException as error:
            context.cancel()  # what is left in a thread, of an attempt that took too long say, is waited for by nobody
            if is_ours_to_obey(error):
                raise
            fault = _fault(error, action, command, reported=reporter.reported)
            return run.result(ok=False, error=fault), len(fault.message)
        if key and command.cache_ttl and size < _CACHE_BYTES:
            self._cache[key] = Cached(output, size, command.cache_ttl)
        return run.result(ok=True, output=output), size

    async def _in_time(self, run: Run, context: StepContext, reporter: Reporter) -> dict[str, Any]:
        """What the agent gives, within the command's timeout from the beginning and from every report of progress."""
        run.started_at = time.time()
        counts = self._counts.of(run.agent, run.action)
        counts.begun()
        try:
            async with asyncio.timeout(run.command.timeout) as limit:
                reporter.begin(limit)
                try:
                    return await self._run(run, context)
                finally:
                    reporter.end()
        finally:
            counts.left()

    async def _run(self, run: Run, context: StepContext) -> dict[str, Any]:
        agent, inputs = run.agent, run.command.inputs or {}
        if run.alone:
            agent.check_granted(run.action)
            return await self._quarantine.run(agent, run.action, inputs, context)
        with working_on(context):
            return await agent.perform(run.action, inputs)


def _cache_key(agent: BaseAgent, action: str, command: StepCommand) -> str:
    what = [agent.agent_type, agent.config, action, command.inputs]
    return hashlib.sha256(to_json(what, fallback=str)).hexdigest()


def _fault(error: BaseException, action: str, command: StepCommand, *, reported: bool) -> StepError:
    match error:
        case CapabilityError():
            return StepError(
                type=error.code, message=text_of(error), retryable=error.retryable, details=_bounded(error.details)
            )
        case WorkCancelled():
            return StepError(type="Cancelled", message=text_of(error))
        case AgentCrashed():
            return StepError(type="AgentCrashed", message=str(error), retryable=True)
        case AgentStopped():
            return StepError(type="AgentStopped", message=str(error), retryable=True)
        case asyncio.CancelledError() | SystemExit() | KeyboardInterrupt():
            message = f"{action} ended itself with {type(error).__name__}"
            return StepError(type="AgentCrashed", message=message, retryable=True)
        case TimeoutError():
            since = " of its latest report of progress" if reported else ""
            message = f"{action} did not finish within {command.timeout:g} s{since}"
            return StepError(type="Timeout", message=message, retryable=True)
        case _:
            log.error("capability raised", action=action, exc_info=error)
            return StepError(type=type(error).__name__, message=text_of(error), retryable=True)


def _bounded(details: Any) -> Any:
    """Details as JSON that can be sent, without secrets, whatever an agent put into them."""
    try:
        encoded = to_json(masked(from_json(to_json(details, fallback=str))))
    except ValueError:
        return {"left_out": "details that are no JSON"}
    if len(encoded) > _LARGEST_DETAILS:
        return {"left_out": f"details over {_LARGEST_DETAILS} bytes"}
    return from_json(encoded)
