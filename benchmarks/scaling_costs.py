"""From the rounds of ``benchmarks.scaling_out`` to what one step costs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.summary import Range, spread

GROUPS = ("orchestrators", "hosts", "broker", "store", "edge", "auditor", "monitor", "registry", "client")
BACKGROUND = ("process.reported.v1", "host.heartbeat.v1", "agent.sweep.v1")  # whatever the load
_GROUP_OF = {"orchestrator": "orchestrators", "echo": "hosts", "driver": "client"}
_MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one workload in one layout; each figure the median of its rounds, with the least and the most.

    ``cpu``: ms of processor time a step, by group, of ``all`` but the client, and of the ``busiest orchestrator``.
    ``counts``: see ``counts_of``. ``busiest``: the share of the log's entries that one orchestrator appended.
    """

    workload: str
    rounds: int
    steps_per_execution: float
    cpu: Mapping[str, Range]
    counts: Mapping[str, Range]
    busiest: Range


def costs_of(layout: Mapping[str, Any]) -> dict[str, Costs]:
    """By workload, in the order in which they were run."""
    rounds: dict[str, list[Mapping[str, Any]]] = {}
    for one in layout["rounds"]:
        rounds.setdefault(one["workload"], []).append(one)
    return {name: _costs(name, some) for name, some in rounds.items()}


def counts_of(one: Mapping[str, Any]) -> dict[str, float]:
    """Of one round, all of them for a step: ``messages`` published and their ``message bytes``; ``commits`` (each one
    insert of ``entries`` into the log) and ``header writes``, statements that are waited for; ``audit records``; bytes
    ``over the broker's sockets`` and ``over the store's sockets``, ``written by the broker``; bytes ``kept: log`` (and
    ``headers``, ``audit``) with their indexes, ``kept: entries, uncompressed``, and ``store's log`` (PostgreSQL's
    write-ahead log). What could not be read is left out."""
    calls = [role["store_calls"] for role in one["counts"].values()]
    items = [role["store_items"] for role in one["counts"].values()]
    kept = one["kept"]
    told = {
        "messages": _work_of(one, "messages"),
        "message bytes": _work_of(one, "message_bytes"),
        "commits": sum(role.get("append", 0) for role in calls),
        "entries": sum(role.get("append", 0) for role in items),
        "header writes": sum(role.get("write_headers", 0) for role in calls),
        "audit records": kept["rows.audit"],
        **{f"over the {name}'s sockets": sent for name, sent in one["wire"].items()},
        "written by the broker": one["written"]["broker"],
        "kept: log": kept["bytes.log"],
        "kept: headers": kept["bytes.headers"],
        "kept: audit": kept["bytes.audit"] + kept["bytes.audit_checkpoints"],
        "kept: entries, uncompressed": kept["entry_bytes"],
        **({"store's log": kept["wal"]} if "wal" in kept else {}),
    }
    return {name: value / one["steps"] for name, value in told.items()}


def cpu_of(one: Mapping[str, Any]) -> dict[str, float]:
    """Of one round, ms of processor time for a step: see ``Costs.cpu``."""
    by_role = {role: seconds * _MILLISECONDS / one["steps"] for role, seconds in one["cpu"].items()}
    total = dict.fromkeys(GROUPS, 0.0)
    for role, milliseconds in by_role.items():
        name = role.split(" ")[0]
        total[_GROUP_OF.get(name, name)] += milliseconds
    return {
        **total,
        "all": sum(value for name, value in total.items() if name != "client"),
        "busiest orchestrator": max(value for role, value in by_role.items() if role.startswith("orchestrator")),
    }


def busiest_share(one: Mapping[str, Any]) -> float:
    """Of the log's entries of a round, how much the orchestrator appended that appended most."""
    appended = [
        role["store_items"].get("append", 0) for name, role in one["counts"].items() if name.startswith("orchestrator")
    ]
    return max(appended) / sum(appended)


def _costs(workload: str, rounds: Sequence[Mapping[str, Any]]) -> Costs:
    cpu, counts = [cpu_of(one) for one in rounds], [counts_of(one) for one in rounds]
    return Costs(
        workload,
        len(rounds),
        rounds[0]["steps"] / rounds[0]["executions"],
        {name: spread([one[name] for one in cpu]) for name in cpu[0]},
        {name: spread([one[name] for one in counts]) for name in counts[0]},
        spread([busiest_share(one) for one in rounds]),
    )


def _work_of(one: Mapping[str, Any], kind: str) -> int:
    return sum(
        count
        for role in one["counts"].values()
        for message_type, count in role[kind].items()
        if message_type not in BACKGROUND
    )
