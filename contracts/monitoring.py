"""What every process says of itself, and the question how everything does. Its answer is in ``monitoring_views``."""

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from contracts import topology
from contracts.envelope import Contract, Message
from contracts.topology import Address

# ---- a process of itself

# Far beyond what anything counts, and so far from overflow that sums over all processes stay numbers.
_MOST = 10**18
Figure = Annotated[float, Field(ge=-_MOST, le=_MOST, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=-_MOST, le=_MOST)]

# The monitor keeps what processes say, and anybody who may report may say anything: so nothing is without bound.
LONGEST_FAULT = 1_000  # characters; of a longer one the rest is left out
Text = Annotated[str, Field(max_length=300)]
Fault = Annotated[str, AfterValidator(lambda fault: fault[:LONGEST_FAULT])]


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


Series = tuple[tuple[Text, ...], tuple[Figure, ...]]
"""The values of its labels, and its figures."""


class MetricFamily(Contract):
    """A metric with all its series, cumulative since the process began unless it is a gauge.

    ``name`` is as in Prometheus's text format, without ``_bucket``, ``_sum`` and ``_count``. ``labels`` are names, in
    the order of the values in each series. A counter's or gauge's series has one figure. A histogram's has one for
    each of ``bounds`` (how many observations were in this bucket and no lower one), one for those above the highest,
    and last the sum of all. What is counted is never below zero. Series that are zero throughout are left out.
    """

    name: str = Field(max_length=200)
    kind: MetricKind
    labels: tuple[Text, ...] = Field(default=(), max_length=20)
    bounds: tuple[Figure, ...] = Field(default=(), max_length=200)
    series: tuple[Series, ...] = ()

    @property
    def width(self) -> int:
        """How many figures a series of it has."""
        return len(self.bounds) + 2 if self.kind is MetricKind.HISTOGRAM else 1

    @model_validator(mode="after")
    def _is_regular(self) -> Self:
        if list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"{self.name}: bounds must rise")
        labels, width = len(self.labels), self.width
        # A gauge may be anything, and so may a histogram's sum.
        counted = {MetricKind.GAUGE: 0, MetricKind.COUNTER: 1, MetricKind.HISTOGRAM: width - 1}[self.kind]
        for values, figures in self.series:
            if len(values) != labels or len(figures) != width:
                raise ValueError(
                    f"{self.name}: a series has {len(values)} labels and {len(figures)} figures,"
                    f" {self.kind} of {labels} labels and {len(self.bounds)} bounds has {width} figures"
                )
            if counted and min(figures[:counted]) < 0:
                raise ValueError(f"{self.name}: a series of {values} has counted less than nothing")
        return self


class CheckResult(Contract):
    """One thing that a service needs in order to be ready, and what is wrong with it; empty if nothing is."""

    name: Text
    fault: Fault = ""

    @property
    def ok(self) -> bool:
        return not self.fault


class ServiceState(Contract):
    """Whether a service of a process is ready for work: started, not ending, and every check without a fault."""

    service: Text
    checks: tuple[CheckResult, ...] = Field(default=(), max_length=20)

    @property
    def ready(self) -> bool:
        return all(check.ok for check in self.checks)


class SystemFigures(Contract):
    """Of a process and its host: shares of one core (``cpu``; may exceed 1) and of all cores (``host_cpu``), bytes,
    bytes a second of the host's network since the last report, seconds that the event loop was late (mean and longest
    since the last report)."""

    cpu: Figure = 0.0
    memory: Whole = 0
    threads: Whole = 0
    open_files: Whole | None = None
    loop_lag_mean: Figure = 0.0
    loop_lag_max: Figure = 0.0
    host_cpu: Figure = 0.0
    host_memory_total: Whole = 0
    host_memory_available: Whole = 0
    network_received: Figure = 0.0
    network_sent: Figure = 0.0


class ProcessReported(Message):
    """A process's services, system figures and metrics. Times are epoch seconds; ``instance`` is of this process alone,
    and ``number`` counts its reports, from 1; ``interval`` is how many seconds later the next report comes;
    ``stopping`` is said when the process was told to end."""

    TYPE: ClassVar[str] = "process.reported.v1"

    instance: str = Field(max_length=200)
    number: int = Field(ge=1)
    host: Text
    pid: Whole
    version: Text
    started_at: Figure
    at: Figure
    interval: float = Field(gt=0, le=3_600)
    stopping: bool = False
    services: tuple[ServiceState, ...] = Field(default=(), max_length=50)
    system: SystemFigures = SystemFigures()
    metrics: tuple[MetricFamily, ...] = ()

    def address(self) -> Address:
        return topology.event("process.reported")


# ---- the question


class ViewName(StrEnum):
    HEALTH = "health"
    METRICS = "metrics"
    AGENTS = "agents"
    WORKFLOWS = "workflows"
    SYSTEM = "system"
    QUEUES = "queues"


WINDOWS = (60, 300, 900, 3600)  # seconds, over which figures are shown


class DescribeMonitoring(Message):
    """Ask the monitor for one view. Answered by ``MonitoringDescribed``. ``window``, one of ``WINDOWS``, asks for that
    window alone where the view shows several."""

    TYPE: ClassVar[str] = "monitoring.describe.v1"

    view: ViewName
    window: int | None = None

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if self.window is not None and self.window not in WINDOWS:
            raise ValueError(f"window {self.window}: expected one of {', '.join(map(str, WINDOWS))} (seconds)")
        return self

    def address(self) -> Address:
        return topology.command("monitoring.describe")
