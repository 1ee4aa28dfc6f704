"""What a number of steps a second takes, worked out from what one step was measured to cost. Pure arithmetic.

Each row is its formula and nothing else; the constants are what was assumed and not measured. docs/scaling.md shows
``table()`` and ``ceilings()`` as they come from the run in docs/measurements, and a test makes them anew.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isnan, nan
from typing import Any, Final

from benchmarks.scaling_costs import Costs, costs_of
from benchmarks.summary import Range
from contracts.topology import SHARDS

SEVERAL: Final = {"store": "postgresql", "orchestrators": 2, "hosts": 2}  # whose costs are taken
ALONE: Final = {"store": "postgresql", "orchestrators": 1, "hosts": 1}  # where one process has all of the work
SECONDS_A_DAY: Final = 86_400
HEADROOM: Final = 2.0  # what is provided for what is needed on average: peaks, restarts, one that is away
BROKER_NODES: Final = 3
STORE_NODES: Final = 3
RETENTION_DAYS: Final = 30
LEAST: Final = 2  # of each service, so that one may go


@dataclass(frozen=True, slots=True)
class Demand:
    """``steps`` a second, on average, of workflows like ``workload``; ``paced``: measured at that rate and not with a
    full system, so batches are small."""

    name: str
    steps: float
    workload: str
    paced: bool = False


DEMANDS: Final = (
    Demand("1 million an hour", 1_000_000 / 3_600, "chain10 at 278/s", paced=True),
    Demand("1 billion a day", 1_000_000_000 / SECONDS_A_DAY, "chain10"),
    Demand("1 billion a day", 1_000_000_000 / SECONDS_A_DAY, "fan50"),
)
# Processes of which one does all of something, or each hears of everything: more of them do not share it.
CEILINGS: Final = (
    ("auditor", "the auditor that writes"),
    ("edge", "an edge that only listens"),
    ("monitor", "a monitor"),
)

FULL: Final = (("busiest orchestrator", f"an orchestrator, of up to {SHARDS} that share the results"), *CEILINGS)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a demand takes, where a step costs ``costs``, and ``alone`` where one process has all of the work.

    A full system's costs are the medians of its rounds. Those of one that is paced depend on how many messages happen
    to come together, so the dearest round is taken.
    """

    demand: Demand
    costs: Costs
    alone: Costs

    def a_second(self, count: str) -> float:
        """How many of something (``counts_of``) there are in a second; not a number where it was not measured."""
        found = self.costs.counts.get(count)
        return nan if found is None else self.demand.steps * self._planned(found)

    @property
    def executions(self) -> float:
        return self.demand.steps / self.costs.steps_per_execution

    def cores(self, group: str) -> float:
        """Busy all the time, on average."""
        return self.demand.steps * self._planned(self.costs.cpu[group]) / 1000

    def processes(self, group: str) -> int:
        """Of a service whose work divides over its processes, each of which has one core."""
        return max(LEAST, ceil(self.cores(group) * HEADROOM))

    def server_cores(self, group: str, nodes: int) -> int:
        """Of all nodes together, if a follower works as hard as the leader."""
        return max(nodes, ceil(self.cores(group) * HEADROOM * nodes))

    @property
    def installations(self) -> int:
        """Side by side, of the code as it is: as many as keep each process that cannot share its work below its core,
        with the headroom, and have a shard for each orchestrator."""
        fullest = max(self.whole(group) for group, _ in CEILINGS)
        return max(
            1, ceil(self.demand.steps * HEADROOM * fullest / 1000), ceil(self.processes("orchestrators") / SHARDS)
        )

    def whole(self, group: str) -> float:
        """Milliseconds a step of a process that has all of this work, in whichever layout it is more."""
        return max(self._planned(self.costs.cpu[group]), self._planned(self.alone.cpu[group]))

    def _planned(self, measured: Range) -> float:
        return measured.most if self.demand.paced else measured.median

    @property
    def kept_a_day(self) -> float:
        """Bytes of log, headers and audit log with their indexes, on one node."""
        return sum(self.a_second(f"kept: {table}") for table in ("log", "headers", "audit")) * SECONDS_A_DAY


Row = tuple[str, Callable[[Taken], str]]
_ROWS: Final[Sequence[Row]] = (
    ("steps a second", lambda t: f"{t.demand.steps:,.0f}"),
    ("costs taken from", lambda t: t.costs.workload),
    ("executions a second", lambda t: _figures(t.executions)),
    ("messages published a second", lambda t: _figures(t.a_second("messages"))),
    ("commits a second", lambda t: _figures(t.a_second("commits"))),
    ("rows inserted into the log a second", lambda t: _figures(t.a_second("entries"))),
    ("entries of the audit log a second", lambda t: _figures(t.a_second("audit records"))),
    ("cores busy: orchestrators", lambda t: _figures(t.cores("orchestrators"))),
    ("cores busy: hosts, without the work itself", lambda t: _figures(t.cores("hosts"))),
    ("cores busy: RabbitMQ, one node", lambda t: _figures(t.cores("broker"))),
    ("cores busy: PostgreSQL, one node", lambda t: _figures(t.cores("store"))),
    ("core busy: auditor, of the one that writes", lambda t: _figures(t.cores("auditor"))),
    ("core busy: each edge, only listening", lambda t: _figures(t.cores("edge"))),
    ("core busy: each monitor", lambda t: _figures(t.cores("monitor"))),
    ("orchestrator processes", lambda t: str(t.processes("orchestrators"))),
    ("host processes, without the work itself", lambda t: str(t.processes("hosts"))),
    ("cores of RabbitMQ, all nodes", lambda t: str(t.server_cores("broker", BROKER_NODES))),
    ("cores of PostgreSQL, all nodes", lambda t: str(t.server_cores("store", STORE_NODES))),
    ("MB a second between RabbitMQ and its clients", lambda t: _figures(t.a_second("over the broker's sockets") / 1e6)),
    (
        "MB a second between RabbitMQ's nodes",
        lambda t: _figures(t.a_second("message bytes") * (BROKER_NODES - 1) / 1e6),
    ),
    ("MB a second that one node of RabbitMQ writes", lambda t: _figures(t.a_second("written by the broker") / 1e6)),
    ("MB a second between store and clients", lambda t: _figures(t.a_second("over the store's sockets") / 1e6)),
    ("GB a day of write-ahead log, one node", lambda t: _figures(t.a_second("store's log") * SECONDS_A_DAY / 1e9)),
    ("GB a day kept, one node", lambda t: _figures(t.kept_a_day / 1e9)),
    (f"TB kept after {RETENTION_DAYS} days, one node", lambda t: _figures(t.kept_a_day * RETENTION_DAYS / 1e12)),
    (
        f"TB kept after {RETENTION_DAYS} days, all nodes",
        lambda t: _figures(t.kept_a_day * RETENTION_DAYS * STORE_NODES / 1e12),
    ),
    ("installations side by side, of the code as it is", lambda t: str(t.installations)),
)


@dataclass(frozen=True, slots=True)
class Estimate:
    columns: Sequence[Taken]

    def table(self) -> str:
        """A row for each figure, a column for each demand."""
        header = ["", *(taken.demand.name for taken in self.columns)]
        rows = [[name, *(formula(taken) for taken in self.columns)] for name, formula in _ROWS]
        return markdown(header, rows)

    def ceilings(self) -> str:
        """Steps a second at which an orchestrator that has all results, or a process of which there is one or which
        hears of everything, has a whole core to do: 1,000 by its milliseconds a step."""
        full = [taken for taken in self.columns if not taken.demand.paced]
        header = ["one core is full at so many steps a second", *(taken.costs.workload for taken in full)]
        rows = [[name, *(_ceiling(taken.whole(group)) for taken in full)] for group, name in FULL]
        return markdown(header, rows)


def estimate_of(told: Mapping[str, Any]) -> Estimate:
    """From a run of ``benchmarks.scaling_out``.

    Raises:
        ValueError: the run has not measured what the estimate rests on.
    """
    several, alone = (_costs(told, layout) for layout in (SEVERAL, ALONE))
    return Estimate([Taken(one, several[one.workload], alone[one.workload]) for one in DEMANDS])


def _costs(told: Mapping[str, Any], layout: Mapping[str, Any]) -> Mapping[str, Costs]:
    found = next((one for one in told["layouts"] if layout.items() <= one.items()), None)
    costs = {} if found is None else costs_of(found)
    missing = sorted({demand.workload for demand in DEMANDS} - costs.keys())
    if missing:
        raise ValueError(f"the run has no {', '.join(missing)} with {layout}")
    return costs


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ceiling(milliseconds: float) -> str:
    return _figures(1000 / milliseconds) if milliseconds else "not seen"


def _figures(value: float) -> str:
    """Two figures that count, which is more than the measurements are good for."""
    if isnan(value):
        return "not measured"
    if value == 0:
        return "0"
    digits = 0
    while digits < 4 and abs(value) * 10**digits < 10:
        digits += 1
    if digits:
        return f"{value:.{digits}f}"
    size = 10 ** (len(str(int(abs(value)))) - 2)
    return f"{round(value / size) * size:,}"
