"""Admission: how many executions may be open at once, and what becomes of a start when there is no room for it.

The store knows how many are open, and a count of that stops at the limit. It is taken about once a second; what this
replica has let in since then is added, so that a burst between two counts does not slip through. Replicas count the
same store: together they exceed the limit by what the others let in between two counts of one, at most.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from contracts.execution import Refused
from services.orchestrator.mailbox import Item, Mailbox, Receipt
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import Delivery
from services.runtime.correlation import without_work
from services.runtime.pacing import Pace
from services.runtime.repeated import Repeated
from services.runtime.service import Refusal
from services.runtime.store.base import Store

log = structlog.get_logger(__name__)

PERIOD: Final = 1.0  # seconds between counts while nobody wants in
_SHORTEST: Final = 0.05
_REST: Final = 20  # where somebody does, a count is followed by a rest this many times as long as it took
_RESERVED: Final = 10  # the last tenth of the room is for those who wait for an answer
_IDS_PER_LOOK: Final = 256


class StartReceipt(Receipt):
    """The receipt of a start that takes room: once let in, and until settled, it may not be in the store's count."""

    def __init__(self, delivery: Delivery, admission: "Admission") -> None:
        super().__init__(delivery, 1)
        self._admission = admission
        self._on_its_way = False

    def enter(self) -> None:
        if not self._on_its_way:
            self._on_its_way = True
            self._admission.entered()

    def leave(self) -> None:
        """It is in the store, or will never be; saying so twice changes nothing."""
        if self._on_its_way:
            self._on_its_way = False
            self._admission.left()

    async def settle(self) -> None:
        try:
            await super().settle()
        finally:
            self.leave()


class Admission:
    """Lets starts in while there is room for ``limit`` open executions. A resource of the orchestrator's service."""

    def __init__(self, store: Store, mailbox: Mailbox, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._limit_of_the_patient = limit - limit // _RESERVED
        self._store = store
        self._mailbox = mailbox
        self._clock = clock
        self._counted = 0
        self._left_since = 0
        self._on_their_way = 0
        self._waiting: dict[str, tuple[Item, StartReceipt]] = {}
        self._wanted = asyncio.Event()
        self._pace = Pace(clock)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "admission")

    async def stop(self) -> None:
        """What waits stays with the broker."""
        await stopped(self._task)
        self._waiting.clear()

    @property
    def open(self) -> int:
        """How many executions are open, as far as this replica knows; its own it rather counts twice than not."""
        return self._counted + self._left_since + self._on_their_way

    @property
    def waiting(self) -> int:
        """How many starts are held here until there is room. The rest of the queue is with the broker."""
        return len(self._waiting)

    def has_room(self, *, now: bool) -> bool:
        """Whether one more execution may be opened: by a start that is taken ``now`` or never, or by one that could
        wait, and is behind those that do."""
        if now:
            return self.open < self.limit
        return self.open < self._limit_of_the_patient and not self._waiting

    def refusal(self, execution_id: str) -> Refusal:
        """What is said to whoever wants to be let in now, where there is no room."""
        self._pace.turned_away()
        self._wanted.set()
        text = f"{self.limit} executions are open, which is as many as may be; nothing was stored"
        seconds = float(self._pace.retry_after())
        return Refusal(Refused(code="overloaded", subject=execution_id, message=text, retry_after=seconds))

    def wait(self, message_id: str, item: Item, receipt: StartReceipt) -> None:
        """Hold a start until there is room, first come first served. The same message once more, as the broker gives
        it out after a lost connection, takes the place of its first delivery."""
        self._waiting[message_id] = (item, receipt)
        self._wanted.set()

    def entered(self) -> None:
        self._on_their_way += 1

    def left(self) -> None:
        self._on_their_way -= 1
        self._left_since += 1

    async def count(self) -> None:
        """Ask the store how many are open.

        Raises:
            StoreError: it could not say; what was known before still holds.
        """
        left_before, self._left_since = self._left_since, 0
        try:
            counted = await self._store.count_open(self.limit + 1)
        except BaseException:
            self._left_since += left_before
            raise
        self._pace.done(max(0, self._counted + left_before - counted))
        self._counted = counted

    def let_in(self) -> None:
        """Put the starts that wait into the mailbox, as far as there is room."""
        while self._waiting and self.open < self._limit_of_the_patient:
            item, receipt = self._waiting.pop(next(iter(self._waiting)))
            receipt.enter()
            self._mailbox.put(item)

    async def _run(self) -> None:
        trouble = Repeated(log, "open executions not counted")
        while True:
            began = self._clock()
            try:
                await self.count()
            except Exception as error:  # whatever it is, the next count may succeed
                trouble.failed(error)
            else:
                trouble.worked()
            self._wanted.clear()
            self.let_in()
            rest = min(PERIOD, max(_SHORTEST, _REST * (self._clock() - began)))
            await asyncio.sleep(rest)
            if not self._waiting:
                await self._until_wanted(PERIOD - rest)

    async def _until_wanted(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            pass


class Known:
    """Says which executions exist, so that a start once more takes no room. Questions that come while the store is
    asked share its next answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._questions: dict[str, list[asyncio.Future[bool]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, execution_id: str) -> bool:
        """Whether there is such an execution.

        Raises:
            StoreError: as the store says.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._questions.setdefault(execution_id, []).append(answer)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="look for executions", context=without_work())
        return await answer

    async def _ask(self) -> None:
        try:
            while self._questions:
                ids = list(self._questions)[:_IDS_PER_LOOK]
                await self._answer({execution_id: self._questions.pop(execution_id) for execution_id in ids})
        finally:
            self._asking = None

    async def _answer(self, questions: dict[str, list[asyncio.Future[bool]]]) -> None:
        open_answers = [(execution_id, answer) for execution_id, answers in questions.items() for answer in answers]
        try:
            found = await self._store.read_headers(questions.keys())
        except Exception as error:
            for _, answer in open_answers:
                if not answer.done():
                    answer.set_exception(error)
            return
        for execution_id, answer in open_answers:
            if not answer.done():
                answer.set_result(execution_id in found)
