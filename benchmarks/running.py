"""Rounds of workloads by contestants, one after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.flight import RoundFailed
from benchmarks.rounds import Contestant, Round, Servers, Workload
from benchmarks.summary import Summary, summarise
from benchmarks.workloads import warm_up

Say = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What one contestant did: its rounds by workload, and what failed, in words."""

    contestant: str
    rounds: dict[Workload, list[Round]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def summaries(self) -> list[Summary]:
        return [summarise(workload, rounds) for workload, rounds in self.rounds.items() if rounds]


def run_one(contestant: Contestant, workloads: Sequence[Workload], rounds: int, servers: Servers, say: Say) -> Outcome:
    """Every workload: one short round that is not counted, then ``rounds`` that are.

    A round that fails is told and ends its workload; the next one begins with processes started anew. If they cannot
    be started, that is the end of it.
    """
    outcome = Outcome(contestant.name)
    say(contestant.name)
    running = False
    try:
        for workload in workloads:
            try:
                if not running:
                    contestant.start(servers)
                    running = True
                _rounds(contestant, workload, rounds, outcome, say)
            except RoundFailed as error:
                outcome.failures.append(str(error))
                say(f"  {workload.name}: FAILED: {error}")
                if not running:
                    break
                contestant.stop()
                running = False
    finally:
        contestant.stop()
    return outcome


def _rounds(contestant: Contestant, workload: Workload, rounds: int, outcome: Outcome, say: Say) -> None:
    contestant.run(warm_up(workload))
    done = outcome.rounds.setdefault(workload, [])
    for number in range(1, rounds + 1):
        begun = time.monotonic()
        one = contestant.run(workload)
        done.append(one)
        what = "starts" if workload.shape == "start" else "steps"
        say(
            f"  {workload.name:<14} round {number}/{rounds}: {one.steps_per_second:>9,.1f} {what}/s"
            f"   ({one.steps:,} {what} in {one.seconds:.2f} s, {time.monotonic() - begun:.1f} s in all)"
        )


def folder_for_results(out: Path | None, root: Path) -> Path:
    """``out``, or a new folder named after the time under ``.conclave/benchmarks``; made if it is not there."""
    folder = out or root / ".conclave" / "benchmarks" / time.strftime("results-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
