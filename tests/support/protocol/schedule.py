"""Schedules: what may happen next in a world, a seeded run of it, and the quiet end in which everything must finish."""

import random
from collections.abc import Callable

from tests.support.protocol.checks import check_end, check_now, check_wake
from tests.support.protocol.gates import Violation
from tests.support.protocol.world import Replica, World

Act = Callable[[], None]


def ordinary(world: World) -> list[Act]:
    """What happens without any fault: awaits go on, messages are delivered (in any order), hosts work."""
    rng = world.rng
    acts: list[Act] = []
    if world.gates:
        acts += [lambda: world.open_gate(rng.randrange(len(world.gates)))] * 8
    if world.shard:
        acts += [lambda: world.deliver(rng.choice(world.replicas), _usually_first(rng, len(world.shard)))] * 3
    if world.commands and len(world.runs) < 4:
        acts += [lambda: world.host_takes(_usually_first(rng, len(world.commands)), alone=False)] * 2
    if world.quarantined and not any(run.alone for run in world.runs):
        acts.append(lambda: world.host_takes(0, alone=True))
    if world.runs:
        acts += [lambda: world.host_finishes(rng.randrange(len(world.runs)))] * 2
        acts.append(lambda: world.host_reports(rng.randrange(len(world.runs))))
    return acts


def faults(world: World) -> list[Act]:
    rng = world.rng
    replica: Replica = rng.choice(world.replicas)
    execution_id = rng.choice(list(world.executions))
    acts: list[Act] = [
        lambda: world.crash(replica),
        lambda: world.crash(replica),
        lambda: world.cut(replica),
        lambda: world.cut(replica),
        lambda: world.start(execution_id),
        lambda: setattr(world, "lose_next_answer", True),
        lambda: world.forge(execution_id),
    ]
    if world.shard:
        acts.append(lambda: world.duplicate(world.shard, rng.randrange(len(world.shard))))
    if world.commands:
        acts.append(lambda: world.duplicate(world.commands, rng.randrange(len(world.commands))))
    if world.runs:
        acts.append(lambda: world.host_dies(rng.randrange(len(world.runs))))
    if rng.random() < 0.2:
        acts.append(lambda: world.cancel(execution_id))
    return acts


def pass_time(world: World, seconds: float) -> None:
    world.now += seconds
    world.fire_timers()


def run_schedule(world: World, *, steps: int = 250, fault_rate: float = 0.06) -> None:
    """A seeded run with faults, then the quiet end. Raises Violation where a promise is broken."""
    for _ in range(steps):
        acts = ordinary(world)
        if world.rng.random() < fault_rate:
            acts = faults(world)
        if not acts or world.rng.random() < 0.05:
            pass_time(world, world.rng.choice([1, 3, 10]))
        else:
            world.rng.choice(acts)()
        check_now(world)
    finish(world)


def finish(world: World, *, limit: int = 20_000) -> None:
    """No more faults: everything must come to its end, and be right."""
    world.lose_next_answer = False
    for _ in range(limit):
        acts = ordinary(world)
        if acts:
            world.rng.choice(acts)()
            continue
        check_now(world)
        check_wake(world)
        pending = [header.wake_at for e in world.executions if (header := world.header(e)) and header.wake_at]
        if not pending:
            check_end(world)
            return
        pass_time(world, max(3.0, min(pending) - world.now + 3.0))
    raise Violation("it goes on for ever")


def _usually_first(rng: random.Random, length: int) -> int:
    return rng.randrange(length) if rng.random() < 0.3 else 0
