"""How fast Conclave is on this machine.

    python -m benchmarks                              every workload over every bus and store that can be had
    python -m benchmarks chain10 fan50 --bus rabbitmq --store postgresql
    python -m benchmarks --quick                      one short round of each: does it work?
    python -m benchmarks --peers                      other systems and ours, in turn, in the same session

Servers are found or started on this machine, with data of their own, and stopped at the end; where you are root,
missing Debian packages are installed. docs/benchmarks.md says what each figure means.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, machine, our_versions, server_versions, settings
from benchmarks.ours import STORES, OurContestant
from benchmarks.results import write
from benchmarks.rounds import COMPARED, Workload
from benchmarks.running import Outcome, folder_for_results, run_one
from benchmarks.sessions import KINDS, Session, servers_for
from benchmarks.workloads import GROUPS, chosen, shortened

ROOT = Path(__file__).resolve().parents[1]
BUSES = ("direct", "rabbitmq")  # those that open_bus can open today
PACEMAKER = "floor-quorum"
ROUNDS, QUICK_ROUNDS = 5, 1
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str]) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.workload if name not in GROUPS]:
        parser.error(f"no workload {', '.join(unknown)}; there are: {', '.join(GROUPS)}")
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    buses = options.bus or list(BUSES)
    stores = options.store or list(STORES)
    given = {kind: url for kind in KINDS if (url := getattr(options, f"{kind}_url"))}
    wanted = {*(bus for bus in buses if bus != "direct"), *stores, *(KINDS if options.peers else ())}
    outcomes: list[Outcome] = []
    for number in _ENDING:
        signal.signal(number, _end_once)
    before: dict[str, Any] = {"machine": machine(), "commit": commit()}  # the load before we add to it
    with servers_for(wanted, given, _say) as session:
        ours = _ours(buses, stores, session)
        folder = folder_for_results(options.out, ROOT)
        workloads = _workloads(options)
        if options.peers:
            return _compare(ours, workloads, rounds, session, folder, options)
        if not ours:
            print("nothing can be measured: every combination misses a server", file=sys.stderr)
            return 1
        about = before | _about(rounds, session)
        for contestant in ours:
            outcomes.append(run_one(contestant, workloads, rounds, session.servers, _say))
            write(about, outcomes, folder)  # now, so that an interrupt later does not cost it
    failed = sum(len(outcome.failures) for outcome in outcomes)
    _say(f"results: {folder / 'results.md'}" + (f"   {failed} FAILED" if failed else ""))
    return 1 if failed else 0


def _compare(
    ours: Sequence[OurContestant],
    workloads: Sequence[Workload],
    rounds: int,
    session: Session,
    folder: Path,
    options: argparse.Namespace,
) -> int:
    from benchmarks.compare import UnknownContestant, chosen_contestants, compare
    from benchmarks.peers import all_peers

    try:
        contestants = chosen_contestants([*ours, *all_peers()], options.only)
    except UnknownContestant as error:
        print(error, file=sys.stderr)
        return 2
    pacemaker = next(peer for peer in all_peers() if peer.name == PACEMAKER)
    compare(contestants, workloads, rounds, session.servers, folder, scale=options.scale, pacemaker=pacemaker, say=_say)
    _say(f"results: {folder / 'comparison.md'}")
    return 0


def _ours(buses: Sequence[str], stores: Sequence[str], session: Session) -> list[OurContestant]:
    """The combinations whose servers are there; of the others it is said why they are left out."""
    found = []
    for bus in buses:
        for store in stores:
            missing = [kind for kind in (bus, store) if kind in session.missing]
            if missing:
                _say(f"left out: {bus}+{store}: no {' and no '.join(missing)}")
            else:
                found.append(OurContestant(bus, store))
    return found


def _workloads(options: argparse.Namespace) -> Sequence[Workload]:
    names = options.workload or [one.name for one in COMPARED] if options.peers else options.workload
    workloads = chosen(names)
    return [shortened(one) for one in workloads] if options.quick else workloads


def _about(rounds: int, session: Session) -> dict[str, Any]:
    return {
        "rounds": rounds,
        "versions": {**our_versions(), **server_versions(session.servers)},
        "servers": dict(session.origins),
        "not to be had": dict(session.missing),
        "settings": settings(),
    }


def _end_once(number: int, _frame: object) -> None:
    """End in good order. A second signal must not cut that short: processes would be left behind."""
    for one in _ENDING:
        signal.signal(one, signal.SIG_IGN)
    _say("stopping ...")
    sys.exit(128 + number)


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="Name the workloads first: after --bus and --store they would be taken for another of those.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"any of: {', '.join(GROUPS)}; none = all")
    parser.add_argument("--bus", nargs="+", choices=BUSES, help="default: all")
    parser.add_argument("--store", nargs="+", choices=STORES, help="default: all")
    parser.add_argument("--rounds", type=_positive, help=f"counted rounds of each, default {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="a fifth of the workflows and one round: for a look only")
    parser.add_argument("--peers", action="store_true", help="compare with other systems, in turn with ours")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="with --peers: these contestants, as the table names them"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="SHARE", help="with --peers: share of each workload's workflows"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the results; default: .conclave/benchmarks/...")
    for kind in KINDS:
        parser.add_argument(f"--{kind}-url", metavar="URL", help=f"use this {kind} and start none")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
