"""One command to one result: cache, timeout, and every failure by its name."""

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
from services.runtime.agent import AgentStopped, BaseAgent
from services.runtime.capability import CapabilityError
from services.runtime.hosting.quarantine import AgentCrashed, Quarantine
from services.runtime.step_context import StepContext, working_on

log = structlog.get_logger(__name__)

LARGEST_OUTPUT = 8 * 1024 * 1024
_LEVELS_BESIDE = 100  # readers take 200 levels of JSON; half of them are left for what an output is put into
_LONGEST_MESSAGE = 4_000
_LARGEST_DETAILS = 16 * 1024
_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cached:
    output: Any
    size: int
    ttl: float


class Performer:
    """Runs commands on agents. Always answers with a result; nothing an agent does comes out as an exception."""

    def __init__(self, agent_type: str, quarantine: Quarantine) -> None:
        self._agent_type = agent_type
        self._quarantine = quarantine
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
        key = self._cache_key(agent, action, command) if command.cache_ttl else None
        cached = self._cache.get(key) if key else None
        started_at = time.time()
        if cached is not None:
            return self._result(agent, command, started_at, ok=True, output=cached.output, cached=True), cached.size
        try:
            async with asyncio.timeout(command.timeout):
                output = await self._run(agent, action, command, alone)
            size = _size(output, action)
        except BaseException as error:
            if _is_ours_to_obey(error):
                raise
            fault = _fault(error, action, command)
            log.info("attempt failed", command=command.id, error=fault.type, detail=fault.message)
            return self._result(agent, command, started_at, ok=False, error=fault), len(fault.message)
        if key and command.cache_ttl and size < _CACHE_BYTES:
            self._cache[key] = Cached(output, size, command.cache_ttl)
        return self._result(agent, command, started_at, ok=True, output=output), size

    async def _run(self, agent: BaseAgent, action: str, command: StepCommand, alone: bool) -> dict[str, Any]:
        context = StepContext(command.execution_id, command.step, command.attempt, command.correlation_id)
        inputs = command.inputs or {}
        if alone:
            return await self._quarantine.run(type(agent), agent.agent_id, agent.config, action, inputs, context)
        with working_on(context):
            return await agent.perform(action, inputs)

    def _result(self, agent: BaseAgent, command: StepCommand, started_at: float, **what: Any) -> StepResult:
        return StepResult(
            result_id=f"{self._process_id}-{next(self._runs)}",
            execution_id=command.execution_id,
            step=command.step,
            attempt=command.attempt,
            agent_id=agent.agent_id,
            started_at=started_at,
            finished_at=time.time(),
            **what,
        )

    def _cache_key(self, agent: BaseAgent, action: str, command: StepCommand) -> str:
        what = [self._agent_type, agent.config, action, command.inputs]
        return hashlib.sha256(to_json(what, fallback=str)).hexdigest()


def _is_ours_to_obey(error: BaseException) -> bool:
    """Whether the host itself is being stopped. A capability may raise CancelledError or SystemExit of its own, and
    then it is the command that fails, not the host."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit)


def _size(output: Any, action: str) -> int:
    """The bytes of an output that every reader of it will be able to read.

    Raises:
        CapabilityError: it is too large, or holds what JSON or its readers cannot (NaN, hundreds of levels).
    """
    try:
        encoded = to_json(output, inf_nan_mode="constants")
        if _may_be_unreadable(encoded):
            from_json(b"[" * _LEVELS_BESIDE + encoded + b"]" * _LEVELS_BESIDE, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise CapabilityError(f"the output of {action} cannot be sent: {error}", code="InvalidOutput") from error
    if len(encoded) > LARGEST_OUTPUT:
        message = f"the output of {action} is {len(encoded)} bytes; at most {LARGEST_OUTPUT} are allowed"
        raise CapabilityError(message, code="OutputTooLarge")
    return len(encoded)


def _may_be_unreadable(encoded: bytes) -> bool:
    """Whether it has to be read to be sure. Most outputs need not: so few brackets cannot nest too deep."""
    brackets = encoded.count(b"[") + encoded.count(b"{")
    return brackets > _LEVELS_BESIDE or b"NaN" in encoded or b"Infinity" in encoded


def _fault(error: BaseException, action: str, command: StepCommand) -> StepError:
    match error:
        case CapabilityError():
            return StepError(
                type=error.code, message=_text(error), retryable=error.retryable, details=_bounded(error.details)
            )
        case AgentCrashed():
            return StepError(type="AgentCrashed", message=str(error), retryable=True)
        case AgentStopped():
            return StepError(type="AgentStopped", message=str(error), retryable=True)
        case asyncio.CancelledError() | SystemExit() | KeyboardInterrupt():
            message = f"{action} ended itself with {type(error).__name__}"
            return StepError(type="AgentCrashed", message=message, retryable=True)
        case TimeoutError():
            message = f"{action} did not finish within {command.timeout:g} s"
            return StepError(type="Timeout", message=message, retryable=True)
        case _:
            log.error("capability raised", action=action, command=command.id, exc_info=error)
            return StepError(type=type(error).__name__, message=_text(error), retryable=True)


def _text(error: BaseException) -> str:
    """The error's message, cut to length, without what no encoding of text can hold."""
    return str(error)[:_LONGEST_MESSAGE].encode(errors="replace").decode()


def _bounded(details: Any) -> Any:
    """Details as JSON that can be sent, whatever an agent put into them."""
    try:
        encoded = to_json(details, fallback=str)
    except ValueError:
        return {"left_out": "details that are no JSON"}
    if len(encoded) > _LARGEST_DETAILS:
        return {"left_out": f"details over {_LARGEST_DETAILS} bytes"}
    return from_json(encoded)
