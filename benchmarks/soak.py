"""A steady load for a long time: does anything grow?

    python -m benchmarks.soak [--minutes 20] [--share 0.5] [--store postgresql] [--out soak.json]

Measures how many executions a second the system completes, then starts ``--share`` of that for ``--minutes``, straight
from the broker, while memory, file handles, queue depths and processor time of every process are sampled. The first
tenth, and what fills the orchestrator's cache, is warm-up. The rest is compared in thirds: the last must be no more
than the first, within a tolerance that stands in the verdict. The servers' own memory and files are shown, not judged.
Exits 1 if any part of it fails.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.client import Client
from benchmarks.rounds import Workload
from benchmarks.samples import Sample, Sampler, middle
from benchmarks.standing import STORES, Standing, standing
from services.runtime.bus.open import open_bus

SERVICES = ("orchestrator", "registry", "echo", "edge")
WORKLOAD = Workload("soak", "chain", steps=10, workflows=1, in_flight=1, payload=1_000)
WARM_UP, LONGEST_WARM_UP = 0.1, 0.5  # of the whole
# The orchestrator caches 256 MB of executions, ended ones too; one of these was seen to take 17 KB of it.
FILL_THE_CACHE = 20_000
NOT_OURS = ("broker", "store")  # they keep what was done, and decide themselves how much of it in memory


@dataclass(frozen=True, slots=True)
class Growth:
    """One figure of one process or queue in the first and in the last third, and what the last may be."""

    what: str
    first: float
    last: float
    allowed: float
    judged: bool = True

    @property
    def good(self) -> bool:
        return not self.judged or self.last <= self.allowed


async def run(options: argparse.Namespace, system: Standing) -> dict[str, Any]:
    async with Client(open_bus(system.settings, "load")) as client:
        workflow_id = await client.store_workflow(WORKLOAD)
        capacity = await client.capacity(workflow_id, options.calibration, in_flight=50, payload=WORKLOAD.payload)
        rate = options.share * capacity
        seconds = options.minutes * 60
        print(f"capacity {capacity:.0f} executions/s; {rate:.0f}/s for {seconds:.0f} s", flush=True)
        before = set(client.published)
        period = min(5.0, max(1.0, seconds / 200))
        async with Sampler(system.pids, system.settings.rabbitmq_url, period) as sampler:
            started = await client.start_at_rate(workflow_id, rate, seconds, WORKLOAD.payload)
            begun, over = 0.0, sampler.now
            ours = {key: at for key, at in client.published.items() if key not in before}
            never = await client.until_ended(set(ours), 60.0)
    first_at = min(ours.values())
    latencies = [
        (at - first_at, (client.ends[key] - at) / WORKLOAD.steps) for key, at in ours.items() if key in client.ends
    ]
    return {
        "capacity": capacity,
        "rate": rate,
        "seconds": seconds,
        "started": started,
        "never_ended": sorted(never)[:20],
        "outcomes": dict(client.outcomes),
        "processes_ended": system.ended(),
        "from": begun,
        "to": over,
        "warm_up": warm_up(rate, seconds),
        "growth": [asdict(one) | {"good": one.good} for one in growths(sampler.samples, latencies, seconds, rate)],
        "samples": [asdict(sample) for sample in sampler.samples],
    }


def warm_up(rate: float, seconds: float) -> float:
    """Seconds until growth counts. A run that is too short to fill the cache cannot judge who has it."""
    return min(LONGEST_WARM_UP * seconds, max(WARM_UP * seconds, FILL_THE_CACHE / rate))


def growths(
    samples: Sequence[Sample], latencies: Sequence[tuple[float, float]], seconds: float, rate: float
) -> list[Growth]:
    """First and last third of everything that was sampled. ``latencies``: when (seconds since the first start), and
    seconds a step."""
    warm = warm_up(rate, seconds)
    cache_full = warm * rate >= FILL_THE_CACHE
    third = (seconds - warm) / 3
    bounds = ((warm, warm + third), (seconds - third, seconds))
    first, last = ([one for one in samples if begin <= one.at < end] for begin, end in bounds)
    found: list[Growth] = []
    for name in samples[-1].rss:
        ours = name not in NOT_OURS
        for of, unit, slack in (("rss", "MB", 10.0), ("uss", "MB", 10.0), ("handles", "", 5.0)):
            a, b = middle(first, of, name), middle(last, of, name)
            filling = of != "handles" and name.startswith("orchestrator") and not cache_full
            found.append(Growth(f"{name}: {of} {unit}".rstrip(), a, b, a * 1.05 + slack, ours and not filling))
        found.append(_processor_time(name, first, last))
    for name in samples[-1].queues:
        a, b = middle(first, "queues", name), middle(last, "queues", name)
        found.append(Growth(f"messages waiting in {name}", a, b, a * 1.5 + 50))
    of_third = [[took for at, took in latencies if begin <= at < end] for begin, end in bounds]
    if all(of_third):
        a, b = (median(times) * 1000 for times in of_third)
        found.append(Growth("ms a step, median", a, b, a * 1.25 + 1.0))
    return found


def _processor_time(name: str, first: Sequence[Sample], last: Sequence[Sample]) -> Growth:
    a, b = (_cores(name, part) for part in (first, last))
    return Growth(f"{name}: cores in use", a, b, a * 1.25 + 0.05, name not in NOT_OURS)


def _cores(name: str, part: Sequence[Sample]) -> float:
    if len(part) < 2:
        return 0.0
    used = part[-1].cpu_seconds[name] - part[0].cpu_seconds[name]
    return used / (part[-1].at - part[0].at)


def good(told: dict[str, Any]) -> bool:
    return (
        not told["never_ended"]
        and not told["processes_ended"]
        and set(told["outcomes"]) == {"completed"}
        and all(one["good"] for one in told["growth"])
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--share", type=float, default=0.5, help="of what the system can do")
    parser.add_argument("--calibration", type=float, default=10.0, help="seconds to measure what that is")
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--logs", type=Path, help="folder for the logs of the services")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    with standing(options.store, dict.fromkeys(SERVICES, 1), {}, logs=options.logs) as system:
        told = asyncio.run(run(options, system))
    told["good"] = good(told)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    for one in told["growth"]:
        if one["first"] or one["last"]:
            mark = ("ok  " if one["good"] else "FAIL") if one["judged"] else "    "
            print(f"{mark} {one['what']}: {one['first']:.2f} then {one['last']:.2f} (may be {one['allowed']:.2f})")
    if told["warm_up"] * told["rate"] < FILL_THE_CACHE:
        print("the orchestrator's memory is not judged: the run was too short to fill its cache")
    print(f"{told['started']} started, {told['outcomes']}, never ended: {len(told['never_ended'])}")
    print("nothing grew" if told["good"] else "FAILED")
    return 0 if told["good"] else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
