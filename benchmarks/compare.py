"""Run contestants in turn on the same servers, A B C A B C, and tell how they compare.

In each turn a contestant's processes are started, warmed up, given every workload once and stopped. So only one
contestant runs at a time: idle workers of the others would still poll, beat and hold memory, on a machine where a
hundredth counts. It also makes rounds independent of each other, at the price of a few seconds a turn.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.compare_figures import Rounds, comparison_of
from benchmarks.compare_table import as_markdown
from benchmarks.rounds import Contestant, Round, Servers, Workload
from scripts.redis_server import described

MIN_ROUNDS = 5
BASELINES = ("floor-classic", "floor-quorum", "celery-durable", "langgraph-memory")
JSON_FILE, MARKDOWN_FILE = "comparison.json", "comparison.md"
_WARM_UP_SHARE = 0.1


class UnknownContestant(ValueError):
    """A contestant was chosen that there is none of; the message lists those there are."""


def chosen_contestants(contestants: Sequence[Contestant], names: Iterable[str]) -> list[Contestant]:
    """Those with these names, in their own order; all of them if none is named.

    Raises:
        UnknownContestant: naming what is not there.
    """
    wanted = list(names)
    there = [contestant.name for contestant in contestants]
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise UnknownContestant(f"no contestant {', '.join(unknown)}; there are {', '.join(there)}")
    return [contestant for contestant in contestants if not wanted or contestant.name in wanted]


def scaled(workload: Workload, share: float) -> Workload:
    """The same workload with a share of its workflows, one at the least."""
    workflows = max(1, round(workload.workflows * share))
    return replace(workload, workflows=workflows, in_flight=min(workload.in_flight, workflows))


def compare(
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    rounds: int,
    servers: Servers,
    out: Path,
    *,
    scale: float = 1.0,
    baselines: Sequence[str] = BASELINES,
    machine: Mapping[str, Any] | None = None,
    pacemaker: Contestant | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Run every workload ``rounds`` times by every contestant, and write ``comparison.json`` and ``comparison.md``
    into the folder ``out``, anew after each round.

    A contestant that cannot be set up, started or warmed up is left out and reported with its reason; a round that
    fails is reported, has no figures, and is tried again in the next round.

    Args:
        rounds: at least ``MIN_ROUNDS`` for figures to publish; fewer are enough for a quick look.
        scale: share of each workload's workflows, for a quick look.
        baselines: names of the contestants that each other one is set in relation to, round by round.
        machine: what the report says of the machine and its servers; found out if not given.
        pacemaker: runs every workload right after each contestant has, and stays up all the time. Ratios are then of
            what each did in relation to it, so that a machine which slows down between two turns cannot pass for a
            slow contestant. One that needs next to nothing while idle.
        say: is told how it goes.
    """
    workloads = [scaled(workload, scale) for workload in workloads]
    told = dict(machine_of(servers) if machine is None else machine)
    session = _Session(workloads, servers, say, pacemaker)
    going = [contestant for contestant in contestants if session.set_up(contestant)]
    try:
        _run_rounds(session, going, rounds, baselines, told, out)
    finally:
        session.end()
    say(f"written: {out / JSON_FILE}, {out / MARKDOWN_FILE}")


def _run_rounds(
    session: "_Session",
    going: Sequence[Contestant],
    rounds: int,
    baselines: Sequence[str],
    told: Mapping[str, Any],
    out: Path,
) -> None:
    session.begin()
    for number in range(1, rounds + 1):
        for contestant in [one for one in going if one.name not in session.left_out]:
            session.say(f"round {number} of {rounds}: {contestant.name}")
            session.turn(contestant, number)
        report = {
            "machine": told,
            "rounds": {"done": number, "planned": rounds, "enough": rounds >= MIN_ROUNDS},
            "workloads": {workload.name: asdict(workload) for workload in session.workloads},
            "contestants": session.about,
            "problems": session.problems,
            "baselines": list(baselines),
            "results": comparison_of(session.rounds, [w.name for w in session.workloads], baselines, session.paces),
            "pacemaker": None if session.pacemaker is None else session.pacemaker.name,
            "paces": {
                workload: {name: [asdict(one) for one in of.values()] for name, of in by_name.items()}
                for workload, by_name in session.paces.items()
            },
        }
        _write(out, report)


class _Session:
    """What was seen so far."""

    def __init__(
        self,
        workloads: Sequence[Workload],
        servers: Servers,
        say: Callable[[str], None],
        pacemaker: Contestant | None = None,
    ) -> None:
        self.rounds: Rounds = {}
        self.paces: Rounds = {}
        self.pacemaker = pacemaker
        self.about: dict[str, dict[str, str]] = {}
        self.problems: list[dict[str, Any]] = []
        self.left_out: set[str] = set()
        self.workloads = workloads
        self.say = say
        self._servers = servers

    def begin(self) -> None:
        """Have the pacemaker ready, where there is one."""
        if self.pacemaker is not None:
            self.pacemaker.set_up()
            self.pacemaker.start(self._servers)
            self.pacemaker.run(scaled(self.workloads[0], _WARM_UP_SHARE))

    def end(self) -> None:
        if self.pacemaker is not None:
            self.pacemaker.stop()

    def set_up(self, contestant: Contestant) -> bool:
        self.say(f"setting up {contestant.name}")
        try:
            contestant.set_up()
        except Exception as error:
            self._problem(contestant, None, "set up", error)
            self.left_out.add(contestant.name)
            return False
        return True

    def turn(self, contestant: Contestant, number: int) -> None:
        """One contestant, every workload once. After a failure it is started anew for the next workload."""
        running = False
        try:
            for workload in self.workloads:
                running = running or self._start(contestant, number)
                if not running:
                    return
                try:
                    done = contestant.run(workload)
                    pace = None if self.pacemaker is None else self.pacemaker.run(workload)
                    self._record(contestant, number, done, pace)
                except Exception as error:
                    self._problem(contestant, number, workload.name, error)
                    running = False
                    self._stop(contestant, number)
        finally:
            if running:
                self._stop(contestant, number)

    def _start(self, contestant: Contestant, number: int) -> bool:
        doing = "start"
        try:
            contestant.start(self._servers)
            self.about[contestant.name] = dict(contestant.about())
            doing = "warm-up"
            contestant.run(scaled(self.workloads[0], _WARM_UP_SHARE))
        except BaseException as error:
            self._stop(contestant, number)
            if not isinstance(error, Exception):
                raise
            self._problem(contestant, number, doing, error)
            self.left_out.add(contestant.name)
            return False
        return True

    def _stop(self, contestant: Contestant, number: int) -> None:
        try:
            contestant.stop()
        except Exception as error:
            # What may still run would disturb every round after this one.
            self._problem(contestant, number, "stop", error)
            self.left_out.add(contestant.name)

    def _record(self, contestant: Contestant, number: int, done: Round, pace: Round | None) -> None:
        self.rounds.setdefault(done.workload, {}).setdefault(contestant.name, {})[number] = done
        told = f"    {done.workload}: {done.steps_per_second:,.0f} steps/s"
        if pace is not None:
            self.paces.setdefault(done.workload, {}).setdefault(contestant.name, {})[number] = pace
            told += f", the pacemaker {pace.steps_per_second:,.0f}"
        self.say(told)

    def _problem(self, contestant: Contestant, number: int | None, doing: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        self.problems.append({"contestant": contestant.name, "round": number, "doing": doing, "reason": reason})
        self.say(f"    {contestant.name}: {doing} failed: {reason}")


def machine_of(servers: Servers) -> dict[str, Any]:
    """This machine, its servers and the commit that is measured."""
    from benchmarks.machine import commit, machine, server_versions

    told = {**machine(), "commit": commit(), **server_versions(servers)}
    if servers.redis_url:
        try:
            told["Redis"] = described(servers.redis_url)
        except (OSError, ValueError) as error:
            # A version that cannot be had must not cost the run its figures.
            told["Redis"] = f"not told: {error}"
    return told


def _write(out: Path, report: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / JSON_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / MARKDOWN_FILE).write_text(as_markdown(report), encoding="utf-8")
