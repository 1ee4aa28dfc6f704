"""Which fault happens when: a pure function of the seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

QUIET_AT_FIRST = 3.0  # seconds before the first fault
QUIET_AT_LAST = 2.0
BOOT = 12.0  # seconds in which a server that was started again is left alone

PROCESS_KINDS = ("kill", "pause", "restart")
LINK_KINDS = ("drop", "refuse", "delay", "stall", "one_way", "throttle")
LOAD_KINDS = ("burst", "starve", "copies")
WEIGHTS = {"process": 5, "server": 2, "link": 5, "load": 2}
LONGEST_STALL = 55.0  # longer than RabbitMQ and its client believe in a silent connection


@dataclass(frozen=True, slots=True)
class Fault:
    """``at`` seconds after the beginning, of ``kind``, on ``target``, for ``seconds``; ``amount`` says how much."""

    at: float
    kind: str
    target: str
    seconds: float
    amount: float = 0

    def as_row(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        amount = f" ({self.amount:g})" if self.amount else ""
        return f"{self.at:7.1f} s  {self.kind:<9} {self.target}{amount} for {self.seconds:g} s"


def schedule(
    seed: int, length: float, processes: Sequence[str], servers: Sequence[str], links: Sequence[str], every: float = 2.5
) -> list[Fault]:
    """Faults for ``length`` seconds, one every ``every`` seconds on average; they overlap, but never on one target.

    What is drawn is drawn from shuffled decks, so that even a short run sees every kind.
    """
    rng = random.Random(f"{seed}/schedule")
    decks = {
        "process": _deck(rng, list(product(PROCESS_KINDS, processes))),
        "server": _deck(rng, list(product(PROCESS_KINDS, servers))),
        "link": _deck(rng, list(product(LINK_KINDS, links))),
        "load": _deck(rng, [(kind, "system") for kind in LOAD_KINDS]),
    }
    busy: dict[str, float] = {}
    faults: list[Fault] = []
    at = QUIET_AT_FIRST
    while at < length - QUIET_AT_LAST:
        (group,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        kind, target = next(decks[group])
        fault = _fault(rng, round(at, 1), kind, target, length)
        if busy.get(target, 0) <= at:
            faults.append(fault)
            busy[target] = at + fault.seconds + (BOOT if group == "server" else 3)
            at += rng.uniform(0.2, 1.8) * every
        else:
            at += 0.1
    return faults


def _fault(rng: random.Random, at: float, kind: str, target: str, length: float) -> Fault:
    seconds, amount = 0.0, 0.0
    match kind:
        case "kill" | "refuse":
            seconds = rng.uniform(0.1, 4)
        case "pause" | "one_way":
            seconds = rng.uniform(0.5, 6)
        case "delay":
            seconds, amount = rng.uniform(3, 12), round(rng.uniform(0.05, 0.6), 2)
        case "stall":
            # Now and then so long that both sides give the connection up.
            long = length > 150 and rng.random() < 0.15
            seconds = LONGEST_STALL if long else rng.uniform(1, 9)
        case "throttle":
            seconds, amount = rng.uniform(3, 10), rng.choice([5_000, 20_000, 100_000])
        case "starve":
            seconds = rng.uniform(3, 10)
        case "burst":
            amount = rng.choice([50, 100, 200])
        case "copies":
            amount = rng.choice([100, 200, 300])
    if kind == "one_way":
        amount = rng.choice([1, 2])  # 1: nothing gets to the server, 2: nothing comes back
    return Fault(at, kind, target, round(seconds, 1), amount)


def _deck(rng: random.Random, cards: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    while True:
        rng.shuffle(cards)
        yield from cards
