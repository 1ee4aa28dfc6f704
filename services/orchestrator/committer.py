"""Group commit: whatever waits is applied in memory, appended in one insert, published, and only then acked.

The order is the protocol: (1) payloads, then append; (2) headers and publish, side by side; (3) ack. Nothing is
published before its entry is stored, and nothing is acked before what follows from it is confirmed.

While one batch is told, the next is recorded if it is no smaller: waiting for the broker's confirms then costs no
throughput. What it builds on is stored by then, and if telling fails, the batch is read, told and acked again.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from contracts.execution import RunSteps, StepCommand, StepResult
from contracts.history import LogEntry, StepError
from services.orchestrator.affinity import Affinity
from services.orchestrator.counting import Counting, Uncounted
from services.orchestrator.engine import Decision, Forbidden, UnknownExecution, advance
from services.orchestrator.execution_lines import log_starts_and_ends
from services.orchestrator.mailbox import Item, Mailbox, Outcome
from services.orchestrator.outgoing import BatchSizes, cancel_messages, ending, given_up, run_messages
from services.orchestrator.payloads import INLINE_LIMIT, set_apart
from services.orchestrator.progress import Progress
from services.orchestrator.spans import ExecutionSpans, traceparent_of
from services.orchestrator.states import Held, States
from services.orchestrator.work import (
    Recorded,
    Work,
    failed_attempt,
    header_to_write,
    never_started,
    not_its_own,
    still_open,
)
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import BusError, BusUnavailable, UnroutableMessage
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox
from services.runtime.store.base import Store, StoreError, StoreUnavailable, Unstorable

log = structlog.get_logger(__name__)

Works = dict[str, Work]  # by execution

BATCH_LIMIT = 256
ENTRY_BYTES = 6 * 1024 * 1024  # under the 8 MB that an entry may have, with room for what is not counted
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class Committer:
    """Takes items from a mailbox and commits them in batches: one is recorded while the one before it is told.

    A store or a broker that is away makes it try the same batch again until it succeeds: what was stored by an
    attempt is then found in the log, and what it caused is sent again.
    """

    def __init__(
        self,
        store: Store,
        states: States,
        outbox: Outbox,
        *,
        sizes: BatchSizes | None = None,
        affinity: Affinity | None = None,
        spans: ExecutionSpans | None = None,
        counting: Counting | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        apart: Callable[[Callable[[], Works]], Awaitable[Works]] = asyncio.to_thread,
        shutdown_timeout: float = 20.0,
    ) -> None:
        self.mailbox = Mailbox()
        self._store = store
        self._states = states
        self._outbox = outbox
        self._progress = Progress(outbox)
        self._sizes = sizes or BatchSizes()
        self._affinity = affinity or Affinity()
        self._spans = spans
        self._counting = counting or Uncounted()
        self._clock = clock
        self._sleep = sleep
        self._apart = apart
        self._shutdown_timeout = shutdown_timeout
        # A state is ahead of the log while its batch is recorded, so nobody else may build on it meanwhile.
        self._recording = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    # ---- lifecycle

    async def start(self) -> None:
        self._task = in_background(self._run(), "committer")

    async def stop(self) -> None:
        """Commit what is in hand, as far as the time allows; the rest stays with the broker."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._shutdown_timeout):
                await self.mailbox.drained.wait()
                await self._progress.drain()
        await stopped(self._task)
        self._task = None
        await self._progress.stop()

    async def _run(self) -> None:
        telling: asyncio.Task[None] | None = None
        size = 0
        try:
            while True:
                await self.mailbox.something()
                if telling is not None and len(self.mailbox) < size:
                    await telling  # more gathers meanwhile: a batch costs about the same however large it is
                batch = self.mailbox.take(BATCH_LIMIT)
                size = len(batch)
                recorded = await self._record(batch)
                if telling is not None:
                    await telling
                telling = asyncio.create_task(self._take_care_of(recorded), name="tell")
        finally:
            if telling is not None:
                await stopped(telling)

    async def _take_care_of(self, recorded: Recorded) -> None:
        await self._finish(recorded)
        self.mailbox.taken_care_of()

    async def commit(self, batch: list[Item]) -> None:
        """Commit a batch, however often it takes."""
        await self._finish(await self._record(batch))

    async def _put_off(self, what: str, items: list[Item], error: Exception, pause: float) -> float:
        """Wait before the next attempt, which reads the states anew; returns how long to wait before the one after."""
        self._states.forget(item.execution_id for item in items)
        self._counting.metrics.put_off()
        log.warning(what, error=str(error), items=len(items), again_in=pause)
        await self._sleep(pause)
        return min(2 * pause, _LONGEST_PAUSE)

    async def _isolate(self, items: list[Item], error: Exception) -> None:
        """Something in the batch cannot be committed. Commit its items one by one, so that only the culprit is
        dead-lettered and the others do not suffer for it."""
        if len(items) > 1:
            log.warning("batch failed, committing its items alone", error=repr(error), items=len(items))
            for item in items:
                await self.commit([item])
            return
        (item,) = items
        log.error("item cannot be committed", execution_id=item.execution_id, exc_info=error)
        if isinstance(error, StoreError) and not isinstance(error, Unstorable):
            await self._sleep(_LONGEST_PAUSE / 10)
            item.receipt.give_back()  # the store refuses for now: full, locked, or newer than this service
        else:
            item.receipt.refuse("handler-failed", f"{type(error).__name__}: {error}")
        await _settle([item])

    # ---- (1) record: apply, append

    async def _record(self, batch: list[Item]) -> Recorded:
        """Have the log agree with a batch, however often it takes: items whose execution's entry lost its race, and
        those for which the entry had no room, are applied again."""
        recorded = Recorded()
        rest, pause = batch, _FIRST_PAUSE
        began = time.perf_counter()
        while rest:
            try:
                async with self._recording:
                    rest = await self._record_once(rest, recorded)
                pause = _FIRST_PAUSE
            except StoreUnavailable as error:
                pause = await self._put_off("commit put off", rest, error, pause)
            except Exception as error:
                self._states.forget(item.execution_id for item in rest)
                recorded.failed = (rest, error)
                break
        self._counting.metrics.recorded(len(batch), time.perf_counter() - began)
        return recorded

    async def _record_once(self, batch: list[Item], recorded: Recorded) -> list[Item]:
        """Apply and append; returns the items to be applied again."""
        works, unknown, left = await self._apply(batch)
        landed, lost = await self._append(works)
        recorded.add(landed, unknown)
        return [item for work in lost for item in work.items] + left

    async def _apply(self, batch: list[Item]) -> tuple[list[Work], list[Item], list[Item]]:
        groups: dict[str, list[Item]] = {}
        for item in batch:
            groups.setdefault(item.execution_id, []).append(item)
        # The first start of an id decides what it is a start of; another body is a conflict, not another plan.
        starting = {item.execution_id: item.plan for item in reversed(batch) if item.plan is not None}
        held = await self._states.get(groups, starting)
        works = await self._decide_all(held, groups)
        # An append would reveal a stale cache; "nothing to do" would not, so it is said of fresh state only.
        stale = [work.held for work in works.values() if self._must_look_again(work)]
        again = await self._states.read_again(stale, starting)
        works.update(await self._decide_all(again, groups))
        unknown = [item for execution_id, items in groups.items() if execution_id not in works for item in items]
        left = [item for execution_id, work in works.items() for item in groups[execution_id][len(work.items) :]]
        return list(works.values()), unknown, left

    def _must_look_again(self, work: Work) -> bool:
        return not work.events and not work.held.fresh

    async def _decide_all(self, held: Mapping[str, Held], groups: Mapping[str, list[Item]]) -> Works:
        """Nobody else touches these states meanwhile. Where expressions are evaluated, in a thread (``apart``): they
        may take seconds, for which heartbeats and everybody else in this process would wait."""

        def decide() -> Works:
            return {execution_id: self._decide(one, groups[execution_id]) for execution_id, one in held.items()}

        if any(one.state.plan.evaluates for one in held.values()):
            return await self._apart(decide)
        return decide()

    def _decide(self, held: Held, items: list[Item]) -> Work:
        """Apply the items to the state, as many as one entry has room for."""
        work = Work(held, wake_before=held.state.wake_at)
        state, now = held.state, self._clock()
        state.reply_key = self._affinity.reply_key(state.execution_id)
        state.traced = self._spans is not None
        for item in items:
            if work.size > ENTRY_BYTES:
                break
            work.size += min(item.size, INLINE_LIMIT)
            work.items.append(item)
            try:
                position = len(work.applied)
                decision = advance(state, item.message, now, position=position, answered_by=item.answered_by)
            except UnknownExecution:
                work.outcomes.append((item, never_started(item)))
            except Forbidden as error:
                work.outcomes.append((item, not_its_own(item, str(error))))
            else:
                self._note(work, item, decision)
        work.commands = [command for command in work.commands if still_open(command, work)]
        if work.events:
            stored, work.payloads = set_apart(work.events)
            work.entry = LogEntry(
                execution_id=state.execution_id,
                n=state.n + 1,
                at=now,
                applied=tuple(work.applied),
                events=tuple(stored),
            )
        return work

    def _note(self, work: Work, item: Item, decision: Decision) -> None:
        state = work.held.state
        work.woken |= decision.cause.startswith("wake:")
        work.commands += [command for command in decision.commands if not self._was_sent(work.held, command.entry_n)]
        work.ended |= decision.ended and not self._was_sent(work.held, state.end_n)
        changed = bool(decision.events)
        if changed:
            work.applied.append(decision.cause)
            work.events += decision.events
            work.held.payload_bytes += item.size
        elif isinstance(item.message, StepResult):
            work.late.append(item)
            log.info(
                "result changed nothing",
                execution_id=item.execution_id,
                correlation_id=state.correlation_id,
                step=item.message.step,
                attempt=item.message.attempt,
            )
        if item.answer is not None or decision.conflict:
            told = Outcome(item.execution_id, state.workflow_id, state.status, changed, decision.conflict)
            work.outcomes.append((item, told))

    def _was_sent(self, held: Held, entry_n: int) -> bool:
        return entry_n in held.confirmed

    async def _append(self, works: list[Work]) -> tuple[list[Work], list[Work]]:
        """Store the entries; returns the works whose state the log now agrees with, and those that lost a race."""
        entries = [work.entry for work in works if work.entry is not None]
        payloads = {key: value for work in works for key, value in work.payloads.items()}
        if payloads:
            await self._store.put_payloads(payloads)
        stored = await self._store_entries(entries) if entries else set()
        landed: list[Work] = []
        lost: list[Work] = []
        for work in works:
            if work.entry is None:
                landed.append(work)
            elif work.entry.id in stored:
                work.held.state.n = work.entry.n
                landed.append(work)
            else:
                lost.append(work)
        self._drop(lost)
        log_starts_and_ends(landed)
        self._counting.landed(landed)
        for work in landed:
            self._states.keep(work.held)
            self._note_what_follows(work)
            if self._spans is not None and work.entry is not None:
                self._spans.record(work.held.state, work.held.trace, work.entry)
        return landed, lost

    async def _store_entries(self, entries: list[LogEntry]) -> set[str]:
        try:
            return await self._store.append(entries)
        except Exception:
            self._counting.doubtful(entries)
            raise

    def _note_what_follows(self, work: Work) -> None:
        """While the state is that of the log: the next batch builds on it before this one is told."""
        state = work.held.state
        work.header = header_to_write(work)
        if work.header is not None:
            # If it is not written after all, the state is forgotten with it.
            work.held.header = (work.header.status, work.header.wake_at)
        if work.ended:
            traceparent = traceparent_of(state)
            work.ending = Outgoing(ending(state), correlation_id=state.correlation_id, traceparent=traceparent)
            work.given_up = given_up(state)

    def _drop(self, lost: list[Work]) -> None:
        """Another replica was first (or the answer was lost): what was folded here never happened."""
        self._states.forget(work.held.state.execution_id for work in lost)
        self._counting.doubtful(work.entry for work in lost if work.entry is not None)

    # ---- (2) tell: headers and messages, side by side

    async def _finish(self, recorded: Recorded) -> None:
        """Tell what was recorded, then ack it, however often it takes."""
        pause = _FIRST_PAUSE
        began = time.perf_counter()
        while recorded.items:
            try:
                await self._tell(recorded.works)
                self._progress.put(recorded.works)
                await self._acknowledge(recorded.works, recorded.unknown)
                self._counting.metrics.told(time.perf_counter() - began)
                break
            except (StoreUnavailable, BusUnavailable) as error:
                items = recorded.items
                pause = await self._put_off("telling put off", items, error, pause)
                recorded = Recorded(failed=recorded.failed).joined_by(await self._record(items))
            except Exception as error:
                self._states.forget(item.execution_id for item in recorded.items)
                await self._isolate(recorded.items, error)
                break
        if recorded.failed is not None:
            await self._isolate(*recorded.failed)

    async def _tell(self, works: list[Work]) -> None:
        headers = [work.header for work in works if work.header is not None]
        if headers:
            results = await asyncio.gather(
                self._store.write_headers(headers), self._publish(works), return_exceptions=True
            )
            for failure in results:
                if isinstance(failure, BaseException):
                    raise failure
        else:
            await self._publish(works)
        for work in works:
            if work.entry is not None:
                work.held.confirmed.add(work.entry.n)
        # Who is told "accepted" may rely on the header too: over a bus that keeps nothing, recovery reads headers.
        await self._outbox.send(
            item.answer(outcome) for work in works for item, outcome in work.outcomes if item.answer is not None
        )

    async def _publish(self, works: list[Work]) -> None:
        commands = {command.command.id: command for work in works for command in work.commands}
        runs = [
            Outgoing(run, correlation_id=_shared(run.commands), traceparent=_only(run.commands))
            for run in run_messages(commands.values(), self._sizes)
        ]
        endings: list[Outgoing[Any]] = [work.ending for work in works if work.ending is not None]
        endings += map(Outgoing, cancel_messages(work.given_up for work in works if work.given_up))
        anyone = [run for run in runs if run.message.agent_id is None]
        named = [run for run in runs if run.message.agent_id is not None]
        try:
            await self._outbox.send([*anyone, *endings])
        except UnroutableMessage:
            # A queue was deleted. Everything else went out; sent again, a command is the same attempt.
            named += anyone
        if named:
            await asyncio.gather(*(self._send_or_fail(run) for run in named))

    async def _send_or_fail(self, run: Outgoing[RunSteps]) -> None:
        """Work for an agent that nobody runs fails by name, instead of waiting for a lease to run out."""
        try:
            await self._outbox.send([run])
        except UnroutableMessage as error:
            fault = StepError(type="UnroutableMessage", message=str(error), retryable=True)
            self.mailbox.put(*(failed_attempt(command, fault) for command in run.message.commands))

    # ---- (3) ack

    async def _acknowledge(self, works: list[Work], unknown: list[Item]) -> None:
        strangers = [(item, never_started(item)) for item in unknown]
        correlations = {work.held.state.execution_id: work.held.state.correlation_id for work in works}
        await self._outbox.send(item.answer(outcome) for item, outcome in strangers if item.answer is not None)
        for item, outcome in (*(pair for work in works for pair in work.outcomes), *strangers):
            if item.answer is None and outcome.unknown:
                item.receipt.refuse("unknown-execution", f"no execution {item.execution_id!r} has been started")
            elif item.answer is None and outcome.conflict:
                item.receipt.refuse("refused", f"execution {item.execution_id!r} was started with another body")
            elif outcome.forbidden:
                log.warning(
                    "message refused",
                    reason="forbidden-sender",
                    execution_id=item.execution_id,
                    correlation_id=correlations.get(item.execution_id, ""),
                    detail=outcome.forbidden,
                )
                item.receipt.refuse("forbidden-sender", outcome.forbidden)
        await _settle([*(item for work in works for item in work.items), *unknown])


async def _settle(items: list[Item]) -> None:
    """Settle what came with the items. A delivery that cannot be settled now is committed all the same: its queue
    gives it out again when the connection is back, and then it is a replay."""
    settled = [item.receipt for item in items if item.receipt.done(item.place)]
    for failure in await asyncio.gather(*(receipt.settle() for receipt in settled), return_exceptions=True):
        if isinstance(failure, BusError):
            log.warning("delivery not settled", error=str(failure))
        elif isinstance(failure, BaseException):
            raise failure


def _shared(commands: Iterable[StepCommand]) -> str:
    """The correlation id of a batch: that of its commands where they have the same one."""
    ids = {command.correlation_id for command in commands}
    return ids.pop() if len(ids) == 1 else ""


def _only(commands: Sequence[StepCommand]) -> str:
    """The span that a message of one command is sent under; several each have their own."""
    return commands[0].traceparent if len(commands) == 1 else ""
