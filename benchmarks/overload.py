"""Far more starts than the system can do, through REST and straight from the broker.

    python -m benchmarks.overload [--minutes 2] [--times 10] [--store postgresql] [--out overload.json]

Measures how many executions a second the system completes, then asks for ``--times`` as many: ``--from-broker`` times
as many straight from the broker, without asking for replies, and the rest through REST from clients that do not honour
Retry-After. Meanwhile memory of every process and depths of queues are sampled. Afterwards: did all that was accepted
complete, how long did it take, when was the system as before by itself? Prints a verdict; exits 1 if any part of it
fails.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Client
from benchmarks.definitions import payload_of
from benchmarks.processes import ROOT
from benchmarks.rounds import Workload
from benchmarks.samples import Sampler, peak
from benchmarks.standing import STORES, Standing, standing
from contracts.history import ExecutionStatus
from services.runtime.bus.open import open_bus
from services.runtime.store.open import open_store

SERVICES = ("orchestrator", "registry", "echo", "edge")
PAYLOAD = 100
WORKLOAD = Workload("overload", "chain", steps=3, workflows=1, in_flight=1, payload=PAYLOAD)
ANSWERS = {"202", "429", "503"}
IDS_PER_READ = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """What the verdict holds the run against."""

    memory_mb: float
    latency_factor: float
    recovery_seconds: float


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    good: bool
    found: str


async def run(options: argparse.Namespace, system: Standing) -> dict[str, Any]:
    bus = open_bus(system.settings, "load")
    async with Client(bus) as client:
        workflow_id = await client.store_workflow(WORKLOAD)
        sampler = Sampler(system.pids, system.settings.rabbitmq_url)
        async with sampler:
            capacity = await client.capacity(workflow_id, options.calibration, in_flight=100, payload=PAYLOAD)
            usual = await _one_alone(client, workflow_id)
            seconds = options.minutes * 60
            broker_rate = options.from_broker * capacity
            rest_rate = max(0.0, options.times - options.from_broker) * capacity
            print(f"capacity {capacity:.0f} executions/s; asking for {rest_rate:.0f}/s by REST, {broker_rate:.0f}/s"
                  f" by broker, for {seconds:.0f} s", flush=True)  # fmt: skip
            begun, before = sampler.now, set(client.published)
            flood, published = await asyncio.gather(
                _flood(system, workflow_id, rest_rate, seconds, options.connections),
                client.start_at_rate(workflow_id, broker_rate, seconds, PAYLOAD),
            )
            over = sampler.now
            from_broker = set(client.published) - before
            accepted = dict(flood.pop("accepted"))
            waited = time.monotonic()
            rest_left = await client.until_ended(set(accepted), options.patience)
            rest_after = time.monotonic() - waited
            broker_left = await client.until_ended(from_broker, options.patience)
            drained = time.monotonic() - waited
            first_accepted = await _until_accepted(system, workflow_id)
            recovered = await _one_alone(client, workflow_id)
        statuses = await _statuses(system, [*accepted, *from_broker])
        latencies = sorted(client.ends[key] - at for key, at in accepted.items() if key in client.ends)
    return {
        "capacity": capacity,
        "asked_by_rest": rest_rate * seconds,
        "asked_by_broker": published,
        "seconds": seconds,
        "rest": flood,
        "accepted_by_rest": len(accepted),
        "never_ended": sorted(rest_left | broker_left)[:20],
        "ended_as": statuses,
        "outcomes": dict(client.outcomes),
        "latency": _spread(latencies),
        "latency_bound": options.latency_factor * options.room / capacity + 1.0,
        "one_alone_before": usual,
        "one_alone_after": recovered,
        "seconds_to_end_accepted": rest_after,
        "seconds_to_end_all": drained,
        "seconds_until_accepted_again": first_accepted,
        "flood": {"from": begun, "to": over},
        "processes_ended": system.ended(),
        "samples": [asdict(sample) for sample in sampler.samples],
        "peaks_mb": {name: peak(sampler.samples, "rss", name) for name in system.pids},
        "queue_peaks": {name: peak(sampler.samples, "queues", name) for name in sampler.samples[-1].queues},
        "queues_at_the_end": dict(sampler.samples[-1].queues),
    }


async def _flood(system: Standing, workflow_id: str, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    path = f"/api/v1/workflows/{workflow_id}/execute"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.flood", "127.0.0.1", str(system.port), path),
        *(str(rate), str(seconds), str(connections)),
        cwd=ROOT,
        env={**os.environ, **system.access.variables},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(_body())
    told: dict[str, Any] = json.loads(out)
    return told


async def _one_alone(client: Client, workflow_id: str) -> float:
    """Seconds that an execution takes with nothing beside it: the median of five."""
    times = []
    for _ in range(5):
        (key,) = await client.start(workflow_id, 1, PAYLOAD)
        await client.until_ended({key}, 60.0)
        times.append(client.ends[key] - client.published[key])
    return sorted(times)[2]


async def _until_accepted(system: Standing, workflow_id: str) -> float:
    """Seconds until three starts in a row are accepted by REST."""
    began, in_a_row = time.monotonic(), 0
    while in_a_row < 3 and time.monotonic() - began < 120:
        told = await _flood(system, workflow_id, rate=20.0, seconds=0.2, connections=1)
        in_a_row = in_a_row + 1 if set(told["statuses"]) == {"202"} else 0
    return time.monotonic() - began


async def _statuses(system: Standing, ids: Sequence[str]) -> dict[str, int]:
    """What the store says of each: ``missing`` where it knows nothing of it."""
    store = open_store(system.settings)
    await store.start()
    counts: dict[str, int] = {}
    try:
        for i in range(0, len(ids), IDS_PER_READ):
            chosen = ids[i : i + IDS_PER_READ]
            found = await store.read_headers(chosen)
            for key in chosen:
                status = found[key].status.value if key in found else "missing"
                counts[status] = counts.get(status, 0) + 1
    finally:
        await store.stop()
    return counts


def judged(told: dict[str, Any], limits: Limits) -> list[Check]:
    """The verdict, part by part."""
    rest = told["rest"]
    other = {status: count for status, count in rest["statuses"].items() if status not in ANSWERS}
    services = {name: mb for name, mb in told["peaks_mb"].items() if name not in ("broker", "store")}
    refused = sum(count for status, count in rest["statuses"].items() if status != "202")
    unfinished = {how: n for how, n in told["ended_as"].items() if how != ExecutionStatus.COMPLETED.value}
    dead = told["queues_at_the_end"].get("dead-letters", 0)
    highest = max(services, key=lambda name: services[name])
    return [
        Check("every process lives", not told["processes_ended"], f"ended: {told['processes_ended'] or 'none'}"),
        Check(
            f"memory of each service at most {limits.memory_mb:.0f} MB",
            services[highest] <= limits.memory_mb,
            f"the most has {highest} with {services[highest]:.0f} MB; broker"
            f" {told['peaks_mb'].get('broker', 0):.0f} MB, store {told['peaks_mb'].get('store', 0):.0f} MB",
        ),
        Check(
            "answers are 202, 429 or 503 only",
            not other,
            f"{rest['statuses']}, connections: {rest['errors'] or 'good'}",
        ),
        Check("some were turned away", refused > 0, f"{refused} of {sum(rest['statuses'].values())} answers"),
        Check(
            "who is turned away is told when to come back",
            rest["without_retry_after"] == 0,
            f"{rest['without_retry_after']} without; seconds {_range(rest['retry_after'])}",
        ),
        Check("all that was accepted completed", not unfinished and not told["never_ended"], f"{told['ended_as']}"),
        Check("no dead letters", dead == 0, f"{dead}"),
        Check(
            f"p99 from asked for by REST to completed at most {told['latency_bound']:.1f} s",
            bool(told["latency"]) and told["latency"]["p99"] <= told["latency_bound"],
            json.dumps(told["latency"]),
        ),
        Check(
            f"accepted again within {limits.recovery_seconds:.0f} s of the end of all work",
            told["seconds_until_accepted_again"] <= limits.recovery_seconds,
            f"after {told['seconds_until_accepted_again']:.1f} s; what waited ended {told['seconds_to_end_all']:.1f} s"
            " after the flood",
        ),
        Check(
            "one alone takes about as long as before",
            told["one_alone_after"] <= 3 * told["one_alone_before"] + 0.05,
            f"{told['one_alone_before'] * 1000:.0f} ms before, {told['one_alone_after'] * 1000:.0f} ms after",
        ),
    ]


def _range(counts: dict[str, int]) -> str:
    """From the least to the most, and the one in the middle, of values and how often each was seen."""
    values = sorted(int(value) for value, count in counts.items() for _ in range(count))
    return f"{values[0]} to {values[-1]}, in the middle {values[len(values) // 2]}" if values else "none"


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"p50": values[len(values) // 2], "p99": values[int(len(values) * 0.99)], "most": values[-1]}


def _body() -> bytes:
    return json.dumps({"inputs": {"payload": payload_of(0, PAYLOAD)}}).encode()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="how long the flood lasts")
    parser.add_argument("--times", type=float, default=10.0, help="how much more than it can do is asked")
    parser.add_argument("--from-broker", type=float, default=2.0, help="of which straight from the broker")
    parser.add_argument("--room", type=int, default=1_000, help="MAX_OPEN_EXECUTIONS")
    parser.add_argument("--connections", type=int, default=1_000, help="of REST clients")
    parser.add_argument("--calibration", type=float, default=10.0, help="seconds to measure the capacity")
    parser.add_argument("--orchestrators", type=int, default=1)
    parser.add_argument("--store", choices=STORES, default="postgresql")
    parser.add_argument("--memory-mb", type=float, default=600.0, help="what a service may have")
    parser.add_argument(
        "--latency-factor", type=float, default=3.0, help="bound of p99: this times room / capacity, + 1 s"
    )
    parser.add_argument("--recovery-seconds", type=float, default=5.0)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without a single end: something is lost")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--logs", type=Path, help="folder for the logs of the services")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    processes = {name: options.orchestrators if name == "orchestrator" else 1 for name in SERVICES}
    with standing(options.store, processes, {"MAX_OPEN_EXECUTIONS": str(options.room)}, logs=options.logs) as system:
        told = asyncio.run(run(options, system))
    checks = judged(told, Limits(options.memory_mb, options.latency_factor, options.recovery_seconds))
    told["verdict"] = [asdict(check) for check in checks]
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    for check in checks:
        print(f"{'ok  ' if check.good else 'FAIL'} {check.name}: {check.found}")
    return 0 if all(check.good for check in checks) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
