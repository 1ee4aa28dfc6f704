"""What metrics, logs and traces cost: ``python -m benchmarks.observability [all|metrics|logs|traces ...] [--rounds N]``

Two Conclaves stand side by side (``benchmarks.pairs``): one with METRICS_ENABLED=false, LOG_LEVEL=ERROR and no traces,
and one with what is measured: metrics, a log at INFO (JSON, into a file), traces of every execution (to a collector
here that throws them away), or all of these. Both have their operations port. Told are every round's steps a second,
the ratio of the medians, the median of the pairs' ratios, and the services' CPU time for a step.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from benchmarks.otlp_sink import OtlpSink
from benchmarks.ours import SERVICES
from benchmarks.pairs import Found, compare, in_turn, report_with_cpu, side_by_side
from benchmarks.rounds import COMPARED
from scripts.servers import ServerNotFound

OFF = "off"
ALL = "all"
NOTHING: Mapping[str, str] = {
    "METRICS_ENABLED": "false",
    "METRICS_PORT": "0",
    "LOG_LEVEL": "ERROR",
    "LOG_FORMAT": "json",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
}


def settings_of(what: str, endpoint: str) -> Mapping[str, str]:
    """Environment variables of services that have one of them, or all."""
    parts = {
        "metrics": {"METRICS_ENABLED": "true"},
        "logs": {"LOG_LEVEL": "INFO"},
        "traces": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
    }
    wanted = parts if what == ALL else {what: parts[what]}
    return {**NOTHING, **{name: value for part in wanted.values() for name, value in part.items()}}


def main(arguments: Sequence[str]) -> int:
    known = {workload.name: workload for workload in COMPARED}
    choices = (ALL, "metrics", "logs", "traces")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", choices=[*choices, []], help=f"any of {', '.join(choices)}; none: all")
    parser.add_argument("--workload", choices=known, default="chain10", help="default chain10")
    parser.add_argument("--sessions", type=int, default=4, help="times that both are set up anew, default 4")
    parser.add_argument("--rounds", type=int, default=6, help="counted rounds of each in a session, default 6")
    given = parser.parse_args(arguments)
    workload = known[given.workload]
    reports = []
    for what in given.what or [ALL]:
        found: Found = {}
        with OtlpSink() as sink:
            settings = {OFF: NOTHING, what: settings_of(what, sink.endpoint)}
            for session in in_turn(settings, given.sessions):
                try:
                    with side_by_side(session) as contestants:
                        compare(workload, given.rounds, contestants, found)
                except ServerNotFound as error:
                    print(f"cannot run: {error}", file=sys.stderr)
                    return 2
            if what in (ALL, "traces") and not sink.received:
                print("no traces came, so what they cost was not measured", file=sys.stderr)
                return 1
        reports.append(report_with_cpu(workload, found, OFF, what=what, services=SERVICES))
    print(*reports, sep="\n")
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
