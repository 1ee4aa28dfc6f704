"""The checks can fail: each rule of the protocol, taken away, is missed; with all of them, hundreds of seeds pass."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from contracts.execution import StepProgress
from contracts.history import LogEntry
from services.orchestrator.committer import Committer
from services.orchestrator.mailbox import Item
from services.orchestrator.states import Held
from services.orchestrator.work import Recorded, Work
from tests.support.memory_store import MemoryStore
from tests.support.protocol.gates import Violation
from tests.support.protocol.schedule import run_schedule
from tests.support.protocol.world import World

SEEDS = 150
SEEDS_TO_CATCH = 1_500


class AckFirst(Committer):
    """Acks before anything is stored."""

    async def _record_once(self, batch: list[Item], recorded: Recorded) -> list[Item]:
        works, unknown, left = await self._apply(batch)
        await self._acknowledge(works, unknown)
        landed, lost = await self._append(works)
        recorded.add(landed, unknown)
        return [item for work in lost for item in work.items] + left


class PublishBesideAppend(Committer):
    """Publishes while the entry is still being stored."""

    async def _record_once(self, batch: list[Item], recorded: Recorded) -> list[Item]:
        works, unknown, left = await self._apply(batch)
        (landed, lost), _ = await asyncio.gather(self._append(works), self._publish(works))
        recorded.add(landed, unknown)
        return [item for work in lost for item in work.items] + left


class StaleCacheKept(Committer):
    """Loses a race and tries the next number from what it had in its cache."""

    async def _append(self, works: list[Work]) -> tuple[list[Work], list[Work]]:
        landed, lost = await super()._append(works)
        while lost:
            for work in lost:
                assert work.entry is not None
                work.held.state.n += 1
                work.entry = work.entry.model_copy(update={"n": work.held.state.n + 1})
            more, lost = await super()._append(lost)
            landed += more
        return landed, lost


class NothingSentAgain(Committer):
    """A replay changes nothing and sends nothing."""

    def _was_sent(self, held: Any, entry_n: int) -> bool:
        return entry_n <= held.state.n


class NoFreshRead(Committer):
    """Believes its cache when it says that there is nothing to do."""

    def _must_look_again(self, work: Work) -> bool:
        return False


class CancelToldOnce(Committer):
    """Tells hosts of cancelled work only where it stored the cancel itself, and not for a replay."""

    def _note_what_follows(self, work: Work) -> None:
        super()._note_what_follows(work)
        if work.entry is None:
            work.given_up = {}


class ReportsNotRemembered(Committer):
    """Records a report as often as it comes."""

    def _decide(self, held: Held, items: list[Item]) -> Work:
        for step_id in held.state.plan.steps:
            held.state.step(step_id).reported = None
        return super()._decide(held, items)


class ReportsDropped(Committer):
    """Acks reports of progress without a look."""

    async def _record_once(self, batch: list[Item], recorded: Recorded) -> list[Item]:
        dropped = [item for item in batch if isinstance(item.message, StepProgress)]
        for item in dropped:
            if item.receipt.done(item.place):
                await item.receipt.settle()
        return await super()._record_once([item for item in batch if item not in dropped], recorded)


class AnybodyHeard(Committer):
    """Takes an answer whoever gives it."""

    def _decide(self, held: Held, items: list[Item]) -> Work:
        return super()._decide(held, [replace(item, answered_by=None) for item in items])


class NoUniqueId(MemoryStore):
    """Writes an entry over one of the same number."""

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        for entry in entries:
            self.rows["log"].pop(entry.id, None)
        return await super().append(entries)


def _run(seed: int, committer_class: Any = Committer, store: MemoryStore | None = None) -> None:
    world = World(seed, committer_class, store)
    try:
        run_schedule(world)
    finally:
        world.close()


def test_the_protocol_holds_on_hundreds_of_seeded_schedules() -> None:
    for seed in range(SEEDS):
        _run(seed)


@pytest.mark.parametrize(
    "committer_class",
    [
        AckFirst,
        PublishBesideAppend,
        StaleCacheKept,
        NothingSentAgain,
        NoFreshRead,
        CancelToldOnce,
        ReportsNotRemembered,
        ReportsDropped,
        AnybodyHeard,
    ],
)
def test_a_committer_without_one_of_the_rules_is_caught(committer_class: type[Committer]) -> None:
    assert _caught(lambda seed: _run(seed, committer_class)) is not None


def test_a_log_without_unique_ids_is_caught() -> None:
    assert _caught(lambda seed: _run(seed, store=NoUniqueId())) is not None


def _caught(run: Any) -> int | None:
    """The first seed on which the checks object."""
    for seed in range(SEEDS_TO_CATCH):
        try:
            run(seed)
        except Violation:
            return seed
    return None
