"""What signatures cost: ``python -m benchmarks.signing [WORKLOAD ...] [--rounds N]``

Two Conclaves stand side by side (``benchmarks.pairs``), one with MESSAGE_SIGNING=off and one with required. Told are
every round's steps a second, the ratio of the medians, and the median of the pairs' ratios.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.definitions import AGENT_TYPE
from benchmarks.ours import SERVICES
from benchmarks.pairs import Found, compare, in_turn, report_with_cpu, side_by_side
from benchmarks.rounds import COMPARED
from scripts.servers import ServerNotFound
from services.runtime.security import key_ring
from services.runtime.security.principal import SenderKind

OFF, REQUIRED = "off", "required"


def make_keys(folder: Path) -> Mapping[str, str]:
    """Keys for all who take part; returns the settings of signed services."""
    with key_ring.opened(folder, 1) as ring:
        for name in (*(name for name in SERVICES if name != "echo"), "edge"):
            ring.create(name, SenderKind.SERVICE, ())
        ring.create(AGENT_TYPE, SenderKind.AGENT, (AGENT_TYPE,))
    return {"MESSAGE_SIGNING": REQUIRED, "MESSAGE_KEYS": str(folder)}


def main(arguments: Sequence[str]) -> int:
    known = {workload.name: workload for workload in COMPARED}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.signing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", nargs="*", choices=[*known, []], help=f"any of {', '.join(known)}; none: chain10")
    parser.add_argument("--sessions", type=int, default=4, help="times that both are set up anew, default 4")
    parser.add_argument("--rounds", type=int, default=6, help="counted rounds of each in a session, default 6")
    given = parser.parse_args(arguments)
    workloads = [known[name] for name in given.workload or ["chain10"]]
    found: dict[str, Found] = {workload.name: {} for workload in workloads}
    with tempfile.TemporaryDirectory(prefix="conclave-keys-") as folder:
        settings = {OFF: {}, REQUIRED: make_keys(Path(folder))}
        for session in in_turn(settings, given.sessions):
            try:
                with side_by_side(session) as contestants:
                    for workload in workloads:
                        compare(workload, given.rounds, contestants, found[workload.name])
            except ServerNotFound as error:
                print(f"cannot run: {error}", file=sys.stderr)
                return 2
    for workload in workloads:
        print(report_with_cpu(workload, found[workload.name], OFF, what="signatures", services=SERVICES))
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
