"""Two Conclaves side by side, each with a RabbitMQ and a PostgreSQL of its own, that differ in settings.

They have their rounds in turn, so that whatever else the machine does meets both; and they are set up anew several
times, now the one first and now the other, since one set of processes may be a tenth faster than the next whatever it
does.
"""

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks.ours import OurContestant
from benchmarks.rounds import Round, Workload
from benchmarks.sessions import servers_for
from scripts.servers import ServerNotFound

Found = dict[str, list[Round]]
"""By mode, every round; the n-th rounds of two modes are a pair."""


def in_turn(settings: Mapping[str, Mapping[str, str]], sessions: int) -> Iterator[Mapping[str, Mapping[str, str]]]:
    """The settings for each session, in the order in which they are to be set up."""
    modes = list(settings.items())
    for number in range(sessions):
        yield dict(modes if number % 2 == 0 else reversed(modes))


@contextmanager
def side_by_side(settings: Mapping[str, Mapping[str, str]]) -> Iterator[Mapping[str, OurContestant]]:
    """One contestant for each mode, with servers of its own.

    Raises:
        ServerNotFound: there is no RabbitMQ or PostgreSQL.
    """
    with ExitStack() as standing:
        contestants = {}
        for mode, variables in settings.items():
            wanted = servers_for({"rabbitmq", "postgresql"}, {}, lambda line: print(line, file=sys.stderr))
            session = standing.enter_context(wanted)
            if session.missing:
                raise ServerNotFound(str(dict(session.missing)))
            contestants[mode] = OurContestant("rabbitmq", "postgresql", settings=variables)
            standing.callback(contestants[mode].stop)
            contestants[mode].start(session.servers)
        yield contestants


def compare(workload: Workload, rounds: int, contestants: Mapping[str, OurContestant], found: Found) -> None:
    """Add every round to ``found``. One more of each goes before."""
    for contestant in contestants.values():
        contestant.run(workload)
    modes: Sequence[str] = tuple(contestants)
    for number in range(rounds):
        for mode in modes if number % 2 == 0 else modes[::-1]:
            one = contestants[mode].run(workload)
            found.setdefault(mode, []).append(one)
            cpu = {name: round(seconds, 2) for name, seconds in one.figures["cpu_seconds"].items()}
            print(f"{workload.name} {mode:8} {one.steps_per_second:6.0f} steps/s  cpu {cpu}", flush=True)


def report_with_cpu(workload: Workload, found: Found, without: str, *, what: str, services: Sequence[str]) -> str:
    """``report``, and the CPU that these services took for a step in each mode."""
    cpu = {mode: cpu_of_services(rounds, services) for mode, rounds in found.items()}
    told = ", ".join(f"{mode} {micros:.0f}" for mode, micros in cpu.items())
    return f"{report(workload, found, without, what=what)}; CPU µs a step: {told}"


def report(workload: Workload, found: Found, without: str, *, what: str) -> str:
    """One line: the throughput of the other mode as a share of that of the mode ``without``; ``what`` it has more."""
    (other,) = (mode for mode in found if mode != without)
    speeds = {mode: [one.steps_per_second for one in rounds] for mode, rounds in found.items()}
    medians = {mode: statistics.median(values) for mode, values in speeds.items()}
    pairs = [more / less for less, more in zip(speeds[without], speeds[other], strict=True)]
    spread = ", ".join(f"{mode} {min(values):.0f} to {max(values):.0f}" for mode, values in speeds.items())
    return (
        f"{workload.name}: with {what} {medians[other] / medians[without]:.3f} of without (medians),"
        f" {statistics.median(pairs):.3f} (median of {len(pairs)} pairs, {min(pairs):.2f} to {max(pairs):.2f});"
        f" steps/s: {spread}"
    )


def cpu_of_services(rounds: Sequence[Round], services: Sequence[str]) -> float:
    """Microseconds of CPU that the services' processes take for a step: the median of the rounds."""
    return statistics.median(
        1e6 * sum(one.figures["cpu_seconds"][name] for name in services) / one.steps for one in rounds
    )
