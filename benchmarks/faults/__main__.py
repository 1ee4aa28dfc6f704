"""``python -m benchmarks.faults --minutes N``: run the system under faults and judge it.

``python -m benchmarks.faults check FOLDER`` judges a recorded run again. Exit code 1 with violations, 2 where the run
could not be made.
"""

import argparse
import logging
import random
import sys
import time
from pathlib import Path

import uvloop

from benchmarks.faults.checker import check
from benchmarks.faults.records import BadRecords, Recorder, read_records
from benchmarks.faults.report import report
from benchmarks.faults.run import Options, Run
from benchmarks.faults.servers import STORES, ServerNotAvailable
from benchmarks.faults.system import NotReady
from scripts.server_processes import ServerFailed


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["check"]:
        return _check(_checked(arguments[1:]))
    options, folder = _options(arguments)
    print(f"seed {options.seed}; records in {folder}", flush=True)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # that the broker is gone is no news here
    try:
        with Recorder(folder) as recorder:
            uvloop.run(Run(options, folder, recorder, lambda line: print(line, flush=True)).run())
    except (NotReady, ServerFailed, ServerNotAvailable) as error:
        print(error, file=sys.stderr)
        return 2
    return _check(folder)


def _check(folder: Path) -> int:
    try:
        records = read_records(folder)
    except BadRecords as error:
        print(error, file=sys.stderr)
        return 2
    verdict = check(records)
    print(report(records, verdict))
    return 0 if verdict.passed else 1


def _checked(arguments: list[str]) -> Path:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults check", description="Judge a recorded run again."
    )
    parser.add_argument("folder", type=Path, help="what --out was, or what the run printed")
    folder: Path = parser.parse_args(arguments).folder
    return folder


def _options(arguments: list[str]) -> tuple[Options, Path]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True, help="of load and faults; then everything may end")
    parser.add_argument("--seed", type=int, help="of the schedule and the workflows (default: a new one, printed)")
    parser.add_argument("--store", choices=STORES, default="mongodb")
    parser.add_argument("--executions", type=int, default=1_000, help="in flight at a time")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between faults on average")
    parser.add_argument("--patience", type=float, default=900.0, help="seconds for everything to end after the faults")
    parser.add_argument("--out", type=Path, help="folder of the records (default: one under build/faults)")
    given = parser.parse_args(arguments)
    if given.minutes <= 0 or given.executions < 1 or given.every <= 0:
        parser.error("--minutes and --every must be above 0, --executions 1 or more")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    folder = given.out or Path("build/faults") / f"{time.strftime('%Y%m%d-%H%M%S')}-{given.store}-{seed}"
    return Options(given.minutes, seed, given.store, given.executions, given.every, given.patience), folder.resolve()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
