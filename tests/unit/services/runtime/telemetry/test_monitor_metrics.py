from prometheus_client import CollectorRegistry

from services.runtime.telemetry.monitor_metrics import MonitorMetrics


def test_what_is_no_more_is_not_shown_any_more() -> None:
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    metrics.hosts({"clerk": 2, "porter": 0}, {"clerk": 1, "porter": 1})
    metrics.hosts({"clerk": 1}, {"clerk": 0})

    def hosts(agent_type: str, available: str) -> float | None:
        return registry.get_sample_value("conclave_agent_hosts", {"agent_type": agent_type, "available": available})

    assert (hosts("clerk", "true"), hosts("clerk", "false"), hosts("porter", "true")) == (1, 0, None)


def test_every_gauge_says_what_it_was_told() -> None:
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    metrics.problems({"critical": 0, "error": 2, "warning": 1})
    metrics.services({"edge": 2}, {"edge": 1})
    metrics.queues({"clerk": (7, 3)})
    metrics.agents({("clerk", "idle"): 4})
    metrics.executions(overdue=5, stuck=6)
    metrics.workflows_failing(8)
    metrics.dead_letters(9)
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    assert samples == {
        ("conclave_monitor_problems", "critical"): 0,
        ("conclave_monitor_problems", "error"): 2,
        ("conclave_monitor_problems", "warning"): 1,
        ("conclave_service_instances", "edge", "true"): 2,
        ("conclave_service_instances", "edge", "false"): 1,
        ("conclave_queue_messages", "clerk"): 7,
        ("conclave_queue_consumers", "clerk"): 3,
        ("conclave_agents", "clerk", "idle"): 4,
        ("conclave_executions_overdue",): 5,
        ("conclave_executions_stuck",): 6,
        ("conclave_workflows_failing",): 8,
        ("conclave_dead_letters",): 9,
    }


def test_services_are_told_apart_up_to_a_hundred() -> None:
    """Their names are what processes say."""
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    metrics.services({f"s{i:03d}": 1 for i in range(150)}, {f"s{i:03d}": 2 for i in range(150)})

    def instances(service: str, ready: str) -> float | None:
        return registry.get_sample_value("conclave_service_instances", {"service": service, "ready": ready})

    assert (instances("s099", "true"), instances("s099", "false"), instances("s100", "true")) == (1, 2, None)
    assert (instances("unknown", "true"), instances("unknown", "false")) == (50, 100)
