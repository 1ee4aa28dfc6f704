"""That the metrics of workflows stay within bounds, whatever workflows there are."""

from prometheus_client import CollectorRegistry

from services.runtime.telemetry.workflow_metrics import DISPATCHED, WorkflowMetrics


def test_beyond_a_thousand_actions_all_are_one() -> None:
    registry = CollectorRegistry()
    metrics = WorkflowMetrics(registry)
    for i in range(1_500):
        metrics.steps(f"type{i}", "do").add(DISPATCHED)
    (family,) = [one for one in registry.collect() if one.name == "conclave_steps_dispatched"]
    found = {sample.labels["agent_type"]: sample.value for sample in family.samples if sample.name.endswith("_total")}
    assert len(found) == 1_001
    assert found["unknown"] == 500
    assert found["type999"] == 1
