"""Quarantine: a command that may kill its process runs in one of its own, with nothing beside it."""

import asyncio
import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from contracts.agents import AgentLimits
from services.runtime.agent import BaseAgent
from services.runtime.agent.step_context import StepContext, working_on
from services.runtime.correlation import take_in_hand
from services.runtime.hosting.folder_packages import Portable


class AgentCrashed(Exception):
    """The process in which the command ran died of it."""


class Quarantine:
    """One child process, made when it is first needed and made again when it dies; one command at a time.

    What a command reports of its progress in there goes nowhere, so its timeout counts from its begin. A cancelled
    command is ended by the death of the child. ``prepare`` is called in the child before anything else, and must be a
    function that can be pickled.
    """

    def __init__(self, prepare: Callable[[], None] | None = None) -> None:
        self._prepare = prepare
        self._pool: ProcessPoolExecutor | None = None
        self._alone = asyncio.Lock()

    async def start(self) -> None:
        """Nothing until it is needed."""

    async def stop(self) -> None:
        self._kill()

    async def run(
        self,
        agent: BaseAgent,
        action: str,
        inputs: Mapping[str, Any],
        context: StepContext,
    ) -> dict[str, Any]:
        """What ``agent.perform`` gives or raises, from a process of its own.

        Raises:
            AgentCrashed: the process died.
        """
        async with self._alone:
            like = (Portable(type(agent)), agent.agent_id, agent.config, agent.effective_limits)
            work = self._submit(_perform, *like, action, dict(inputs), context)
            try:
                return await asyncio.wrap_future(work)
            except (BrokenProcessPool, SystemExit, KeyboardInterrupt) as error:
                self._kill()
                raise AgentCrashed(f"the process died while {action} ran alone in it") from error
            except asyncio.CancelledError:
                # A timeout or a cancelled execution: the child may run for ever, and the next command must not wait.
                self._kill()
                raise

    def _submit(self, *call: Any) -> Future[dict[str, Any]]:
        if self._pool is not None:
            with contextlib.suppress(BrokenProcessPool):  # the child died while it had nothing to do
                return self._pool.submit(*call)
            self._kill()
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(self._prepare,))
        return self._pool.submit(*call)

    def _kill(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for process in list((pool._processes or {}).values()):  # the pool offers no other way to end a busy child
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(prepare: Callable[[], None] | None) -> None:
    """First of all in the child. A signal to the service's whole process group, as container engines, process
    managers and terminals send it, is the service's to answer: it waits for what is in hand, and that must not look as
    if it had died of itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if prepare is not None:
        prepare()


def _perform(
    agent_class: type[BaseAgent],
    agent_id: str,
    config: dict[str, Any],
    limits: AgentLimits,
    action: str,
    inputs: dict[str, Any],
    context: StepContext,
) -> dict[str, Any]:
    async def perform() -> dict[str, Any]:
        take_in_hand(
            correlation_id=context.correlation_id,
            execution_id=context.execution_id,
            step=context.step,
            attempt=context.attempt,
            agent_type=agent_class.agent_type,
            agent_id=agent_id,
        )
        agent = agent_class(agent_id, config)
        agent.limit_by(limits)
        await agent.start()
        try:
            with working_on(context):
                return await agent.perform(action, inputs)
        finally:
            await agent.stop()

    return asyncio.run(perform())
