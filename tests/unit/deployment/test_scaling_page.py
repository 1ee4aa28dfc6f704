"""docs/scaling.md names what there is, its limits are the code's, and its tables are what the written-down run and the
arithmetic of ``benchmarks.scaling_estimate`` give."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from benchmarks.machine import machine
from benchmarks.scaling_costs import Costs, busiest_share, costs_of, counts_of, cpu_of
from benchmarks.scaling_estimate import DEMANDS, Demand, Estimate, Taken, estimate_of
from benchmarks.scaling_tables import page, short_counts_table, short_processor_table
from benchmarks.summary import Range
from contracts.topology import SHARDS
from services.edge.app import create_application
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.settings import Settings
from tests.support.memory_store import MemoryStore
from tests.support.metrics_of_the_code import all_metrics

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
LIMITS = re.findall(r"^\| ([^|]+) \| ([\d,]+) \| `([\w.]+)` \|", PAGE, re.MULTILINE)


def measurement() -> tuple[Path, dict[str, Any]]:
    """The run that the page says it rests on."""
    (named,) = set(re.findall(r"\]\((measurements/[\w-]+\.json)\)", PAGE))
    path = ROOT / "docs" / named
    return path, json.loads(path.read_text(encoding="utf-8"))


# ---- names


def test_metrics_exist() -> None:
    named = set(re.findall(r"`((?:conclave|process|http)_\w+)`", PAGE))
    assert len(named) > 8
    assert named <= all_metrics().keys()


def test_alerts_exist() -> None:
    groups = yaml.safe_load((ROOT / "k8s" / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    known = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    named = set(re.findall(r"\bConclave[A-Z]\w+", PAGE))
    assert named
    assert named <= known


def test_settings_exist() -> None:
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    prose = re.sub(r"`[\w.]+\.[\w.]+`", "", PAGE)  # without the places of limits
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", prose))
    assert named
    assert named <= known


def test_the_monitoring_api_has_these_paths_and_fields() -> None:
    document = create_application(Settings(), MemoryStore(), DirectBus(DirectBroker())).openapi()
    assert set(re.findall(r"/api/v1/[\w/]+", PAGE)) <= document["paths"].keys()
    (row,) = (line for line in PAGE.splitlines() if "`/api/v1/monitoring/queues`" in line)
    schemas = document["components"]["schemas"]
    fields = {name for model, schema in schemas.items() if "Monitoring" in model for name in schema["properties"]}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", row.partition("By the API")[2].partition("|")[0]))
    assert len(named) >= 4
    assert named <= fields


def test_links_and_files_lead_somewhere() -> None:
    docs = ROOT / "docs"
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        name, _, anchor = target.partition("#")
        path = docs / name if name else docs / "scaling.md"
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, target
    for named in re.findall(r"`((?:tests|benchmarks|k8s|scripts)/[\w/.]+)`", PAGE):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize(("what", "number", "place"), LIMITS, ids=[place for _, _, place in LIMITS])
def test_a_limit_is_that_of_the_code(what: str, number: str, place: str) -> None:
    assert int(number.replace(",", "")) == value_of(place), what


def test_there_are_limits_to_compare() -> None:
    assert len(LIMITS) >= 15


def value_of(place: str) -> Any:
    holder, _, name = place.rpartition(".")
    try:
        return getattr(importlib.import_module(holder), name)
    except ModuleNotFoundError:
        module, _, model = holder.rpartition(".")
        found: type[BaseModel] = getattr(importlib.import_module(module), model)
        return found.model_fields[name].default


# ---- what was measured


def test_the_tables_are_those_of_the_run() -> None:
    path, told = measurement()
    estimate = estimate_of(told)
    for table in (short_processor_table(told), short_counts_table(told), estimate.table(), estimate.ceilings()):
        assert table in PAGE
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page(told)


def test_the_page_says_on_which_machine_and_how_often() -> None:
    _, told = measurement()
    about = told["about"]
    assert machine().keys() <= about.keys()
    assert str(about["processor"]) in PAGE
    assert f"RabbitMQ {about['RabbitMQ']}" in PAGE
    costs = [costs_of(layout) for layout in told["layouts"] if layout["store"] == "postgresql"]
    full = {some[name].rounds for some in costs for name in ("chain10", "fan50")}
    paced = {some["chain10 at 278/s"].rounds for some in costs}
    assert re.findall(r"medians of (\d+) rounds\s\((\d+) of\sthose", PAGE) == [(str(full.pop()), str(paced.pop()))]
    assert not full | paced


def test_how_unevenly_two_orchestrators_shared_is_as_it_was() -> None:
    _, told = measurement()
    (layout,) = (one for one in told["layouts"] if one["store"] == "postgresql" and one["orchestrators"] == 2)
    shares = [busiest_share(one) for one in layout["rounds"] if one["workload"] == "chain10"]
    (most,) = re.findall(r"in another, one had (\d+) % of them", PAGE)
    assert min(shares) == pytest.approx(0.5, abs=0.02)
    assert max(shares) == pytest.approx(int(most) / 100, abs=0.02)


# ---- the arithmetic, by hand


def a_round(*, steps: int = 1_000, orchestrators: tuple[int, ...] = (900, 100)) -> dict[str, Any]:
    quiet: dict[str, Any] = {"messages": {}, "message_bytes": {}, "store_calls": {}, "store_items": {}}
    appending = {
        f"orchestrator {number}": {
            "messages": {"step.run.v1": 30, "process.reported.v1": 500},
            "message_bytes": {"step.run.v1": 60_000, "process.reported.v1": 9_999_999},
            "store_calls": {"append": 20, "write_headers": 5, "due_headers": 77},
            "store_items": {"append": entries},
        }
        for number, entries in enumerate(orchestrators, start=1)
    }
    kept = {"bytes.log": 400_000, "bytes.headers": 50_000, "bytes.audit": 30_000, "bytes.audit_checkpoints": 20_000}
    return {
        "workload": "chain10",
        "steps": steps,
        "executions": steps // 10,
        "cpu": {
            "orchestrator 1": 0.3,
            "orchestrator 2": 0.1,
            "echo 1": 0.05,
            "broker": 0.2,
            "driver": 9.0,
            "edge": 0.04,
        },
        "counts": {**appending, "echo 1": quiet},
        "wire": {"broker": 3_000_000},
        "written": {"broker": 1_000_000},
        "kept": {**kept, "rows.audit": 200, "entry_bytes": 600_000, "wal": 1_200_000},
    }


def test_a_step_is_a_share_of_its_round() -> None:
    one = a_round()
    cpu = cpu_of(one)
    assert cpu["orchestrators"] == pytest.approx(0.4)
    assert cpu["busiest orchestrator"] == pytest.approx(0.3)
    assert cpu["hosts"] == pytest.approx(0.05)
    assert cpu["all"] == pytest.approx(0.69), "the client is not of the system"
    counts = counts_of(one)
    assert counts["messages"] == pytest.approx(0.06), "what is sent whatever the load is left out"
    assert counts["message bytes"] == pytest.approx(120)
    assert (counts["commits"], counts["entries"], counts["header writes"]) == pytest.approx((0.04, 1.0, 0.01))
    assert (counts["kept: audit"], counts["audit records"], counts["store's log"]) == pytest.approx((50, 0.2, 1_200))
    assert busiest_share(one) == pytest.approx(0.9)


def test_costs_are_medians_with_their_range() -> None:
    rounds = [a_round(steps=steps) for steps in (1_000, 2_000, 4_000)]
    costs = costs_of({"rounds": rounds})["chain10"]
    assert (costs.rounds, costs.steps_per_execution) == (3, 10)
    spread = costs.cpu["orchestrators"]
    assert (spread.median, spread.least, spread.most) == pytest.approx((0.2, 0.1, 0.4))


def taken(demand: Demand, **cpu: float) -> Taken:
    costs = costs_of({"rounds": [a_round()]})["chain10"]
    changed = {**costs.cpu, **{name: Range(value, value, value) for name, value in cpu.items()}}
    made = Costs(costs.workload, 1, 10, changed, costs.counts, costs.busiest)
    return Taken(demand, made, made)


def test_what_a_billion_a_day_takes() -> None:
    """0.4 ms of orchestrators a step, at 11,574 steps a second: 4.63 cores, of which twice as many are provided."""
    found = taken(Demand("a billion", 1e9 / 86_400, "chain10"))
    assert found.executions == pytest.approx(1_157.4, rel=1e-4)
    assert found.cores("orchestrators") == pytest.approx(4.6296, rel=1e-4)
    assert found.processes("orchestrators") == 10
    assert found.server_cores("broker", 3) == 14, "0.2 ms: 2.31 cores, twice that, on three nodes"
    assert found.kept_a_day == pytest.approx(500e9), "400, 50 and 50 bytes a step"
    assert found.installations == 1, "0.04 ms of an edge: 25,000 a second; and ten orchestrators have a shard each"


def test_little_work_takes_two_of_each() -> None:
    found = taken(Demand("little", 1.0, "chain10"))
    assert (found.processes("orchestrators"), found.server_cores("broker", 3), found.installations) == (2, 3, 1)


def test_the_first_to_be_full_decides_how_many_installations() -> None:
    assert taken(Demand("some", 1_000, "chain10"), auditor=2.0).installations == 4


def test_each_orchestrator_needs_a_shard() -> None:
    found = taken(Demand("some", 1_000, "chain10"), orchestrators=0.5 * SHARDS + 0.1)
    assert (found.processes("orchestrators"), found.installations) == (SHARDS + 1, 2)


def test_a_paced_system_is_planned_by_its_dearest_round() -> None:
    costs = costs_of({"rounds": [a_round(steps=steps) for steps in (1_000, 2_000, 4_000)]})["chain10"]
    for paced, milliseconds in ((False, 0.2), (True, 0.4)):
        demand = Demand("some", 1_000, "chain10", paced=paced)
        assert Taken(demand, costs, costs).cores("orchestrators") == pytest.approx(milliseconds)


def test_a_run_without_what_is_needed_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="chain10 at 278/s"):
        estimate_of({"layouts": []})


def test_every_demand_has_a_column_and_what_was_not_measured_says_so() -> None:
    lines = Estimate([taken(demand) for demand in DEMANDS]).table().splitlines()
    assert {line.count("|") for line in lines} == {len(DEMANDS) + 2}
    unknown = [line for line in lines if "not measured" in line]
    assert [line.split(" | ")[0] for line in unknown] == ["| MB a second between store and clients"]
