"""What a step costs each service and server, with one and with more orchestrators and hosts.

    python -m benchmarks.scaling_out [--passes 2] [--rounds 2] [--scale 1.0] [--store postgresql] [--out FOLDER]
    python -m benchmarks.scaling_out --onto FILE     # more passes, added to a run that was written down
    python -m benchmarks.scaling_out --table FILE    # the tables of one, and nothing is run

Figures are counts and processor time, not speed: other work on the machine makes them less exact, and not wrong by the
factor by which it makes everything slower. What the processes use while nothing runs is measured first and taken off.
Writes ``scaling.json`` (every round) and ``scaling.md`` into ``--out``. docs/scaling.md is made of such a run.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.client import Client
from benchmarks.flight import RoundFailed
from benchmarks.machine import commit, machine, our_versions, server_versions
from benchmarks.rounds import CHAIN10, FAN50, Servers, Workload
from benchmarks.running import folder_for_results
from benchmarks.scaling_meters import Meters, difference
from benchmarks.scaling_system import STORES, Deployment, Layout, deployed
from benchmarks.scaling_tables import page
from benchmarks.workloads import warm_up
from scripts.servers import ServerNotFound
from services.runtime.bus.open import open_bus

ROOT = Path(__file__).resolve().parents[1]
SIZES = ((1, 1), (2, 2))  # orchestrators and hosts
WORKLOADS = (replace(CHAIN10, workflows=600), replace(FAN50, workflows=120))
MILLION_AN_HOUR = 1_000_000 / 3_600  # steps a second
PACED = replace(CHAIN10, name="chain10 at 278/s")
PACED_SECONDS = 20.0
IDLE_SECONDS = 10.0
SETTLED = 1.0  # seconds after the last end in which the auditor, the monitor and the disks come to rest


def measured_round(deployment: Deployment, meters: Meters, workload: Workload, idle: Mapping[str, float]) -> Any:
    """One round: what it took, level by level as ``Meters.read`` has it, and ``cpu`` in seconds by role, less ``idle``
    (cores) for as long as it was looked at."""
    deployment.drive("prepare", workload)
    before = meters.read()
    cpu_before, began = meters.cpu_seconds(), time.monotonic()
    told = deployment.drive("run", workload)
    time.sleep(SETTLED)
    cpu_after, looked = meters.cpu_seconds(), time.monotonic() - began
    figures = difference(meters.read(), before)
    deployment.check()
    cpu = {name: max(0.0, cpu_after[name] - cpu_before[name] - idle[name] * looked) for name in cpu_before}
    return {
        "workload": workload.name,
        "steps": workload.total_steps,
        "executions": workload.workflows,
        "seconds": told["seconds"],
        "cpu": cpu,
        **figures,
    }


def paced_round(deployment: Deployment, meters: Meters, idle: Mapping[str, float], seconds: float) -> Any:
    """chain10 as fast as a million steps an hour come, and no faster: nothing waits, so batches are small."""

    async def run() -> tuple[int, float]:
        async with Client(open_bus(deployment.settings, "load")) as client:
            workflow_id = await client.store_workflow(PACED)
            began = time.monotonic()
            count = await client.start_at_rate(workflow_id, MILLION_AN_HOUR / PACED.steps, seconds, PACED.payload)
            never = await client.until_ended(set(client.published), 60.0)
            took = time.monotonic() - began
            if never or set(client.outcomes) != {"completed"}:
                raise RoundFailed(f"{PACED.name}: {len(never)} never ended; outcomes {dict(client.outcomes)}")
            return count, took

    before = meters.read()
    cpu_before, looked_at = meters.cpu_seconds(), time.monotonic()
    count, took = asyncio.run(run())
    time.sleep(SETTLED)
    cpu, looked = difference(meters.cpu_seconds(), cpu_before), time.monotonic() - looked_at
    return {
        "workload": PACED.name,
        "steps": count * PACED.steps,
        "executions": count,
        "seconds": took,
        "cpu": {name: max(0.0, used - idle[name] * looked) for name, used in cpu.items()},
        **difference(meters.read(), before),
    }


def idle_cores(meters: Meters, seconds: float = IDLE_SECONDS) -> dict[str, float]:
    """Cores that each process uses while there is no work."""
    before = meters.cpu_seconds()
    time.sleep(seconds)
    return {name: used / seconds for name, used in difference(meters.cpu_seconds(), before).items()}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Every layout in turn, ``passes`` times, each time with servers and processes of its own.

    Raises:
        ServerNotFound: a server that is needed cannot be had.
        RoundFailed: an execution did not complete, or gave what it should not.
    """
    workloads = [replace(one, workflows=max(one.in_flight, ceil(one.workflows * options.scale))) for one in WORKLOADS]
    told: dict[str, Any] = {"about": {**machine(), "commit": commit(), **our_versions()}, "layouts": []}
    if options.onto is not None:
        told["layouts"] = json.loads(options.onto.read_text(encoding="utf-8"))["layouts"]
    by_name = {Layout(one["store"], one["orchestrators"], one["hosts"]).name: one for one in told["layouts"]}
    done = max((len(one["idle"]) for one in by_name.values()), default=0)
    for number in range(done + 1, done + options.passes + 1):
        for layout in (Layout(store, *size) for store in options.store for size in SIZES):
            _say(f"pass {number}: {layout.name}")
            found = by_name.setdefault(layout.name, {**asdict(layout), "idle": [], "rounds": []})
            with deployed(layout, say=_say) as deployment:
                told["about"] |= _versions(layout, deployment)
                meters = Meters(deployment)
                idle = idle_cores(meters)
                found["idle"].append(idle)
                for workload in workloads:
                    deployment.drive("prepare", warm_up(workload))
                    deployment.drive("run", warm_up(workload))
                    for _ in range(options.rounds):
                        one = measured_round(deployment, meters, workload, idle)
                        _note(found["rounds"], one, number)
                for _ in range(options.rounds):
                    _note(found["rounds"], paced_round(deployment, meters, idle, PACED_SECONDS * options.scale), number)
    told["layouts"] = list(by_name.values())
    return told


def _note(rounds: list[Any], one: dict[str, Any], number: int) -> None:
    rounds.append({**one, "pass": number})
    spent = sum(one["cpu"].values()) * 1000 / one["steps"]
    _say(f"  {one['workload']}: {one['steps']} steps, {spent:.3f} ms of processor time a step in all")


def _versions(layout: Layout, deployment: Deployment) -> dict[str, str]:
    store = {f"{layout.store}_url": deployment.urls["store"]}
    return server_versions(Servers(rabbitmq_url=deployment.urls["broker"], **store))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _as_json(told: Mapping[str, Any]) -> str:
    """A line for each round: as small as it gets while two runs can still be compared by eye."""
    lines = [
        json.dumps({**layout, "rounds": "@"}).replace(
            '"@"', "[\n" + ",\n".join(map(json.dumps, layout["rounds"])) + "]"
        )
        for layout in told["layouts"]
    ]
    about = json.dumps({**told, "layouts": "@"})
    return about.replace('"@"', "[\n" + ",\n".join(lines) + "]") + "\n"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling_out", description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=2, help="times that every layout is set up anew")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each workload in a pass")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each workload's workflows")
    parser.add_argument("--store", choices=STORES, nargs="+", default=list(STORES))
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--onto", type=Path, help="add to this scaling.json, which is read and not changed")
    parser.add_argument("--table", type=Path, help="only show the tables of this scaling.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    if options.table is not None:
        print(page(json.loads(options.table.read_text(encoding="utf-8"))), end="")
        return 0
    try:
        told = run(options)
    except (RoundFailed, ServerNotFound) as error:
        _say(f"FAILED: {error}")
        return 1
    folder = folder_for_results(options.out, ROOT)
    (folder / "scaling.json").write_text(_as_json(told), encoding="utf-8")
    (folder / "scaling.md").write_text(page(told), encoding="utf-8")
    print(page(told), end="")
    _say(f"written into {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
