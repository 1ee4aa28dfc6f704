"""What is told of two systems that had their rounds in turn, and what observability switches."""

import urllib.request

import pytest

from benchmarks.observability import ALL, NOTHING, settings_of
from benchmarks.otlp_sink import OtlpSink
from benchmarks.pairs import cpu_of_services, report
from benchmarks.rounds import CHAIN10, Round


def rounds(*speeds: float, cpu: float = 0.3) -> list[Round]:
    figures = {"cpu_seconds": {"orchestrator": cpu, "echo": cpu / 3, "broker": 9.0}}
    return [Round("chain10", 3_000, 3_000 / speed, [], figures) for speed in speeds]


def test_throughput_is_told_as_a_share_of_that_without() -> None:
    found = {"off": rounds(1_000, 2_000, 3_000), "all": rounds(950, 1_800, 2_400)}
    told = report(CHAIN10, found, "off", what="everything")
    assert "with everything 0.900 of without (medians), 0.900 (median of 3 pairs, 0.80 to 0.95)" in told
    assert "off 1000 to 3000, all 950 to 2400" in told


def test_cpu_is_that_of_the_services_for_a_step() -> None:
    assert cpu_of_services(rounds(1_000), ("orchestrator", "echo")) == pytest.approx(1e6 * 0.4 / 3_000)


def test_each_part_is_switched_on_by_itself() -> None:
    on = {what: settings_of(what, "http://there") for what in ("metrics", "logs", "traces", ALL)}
    changed = {what: {name for name in NOTHING if settings[name] != NOTHING[name]} for what, settings in on.items()}
    assert changed == {
        "metrics": {"METRICS_ENABLED"},
        "logs": {"LOG_LEVEL"},
        "traces": {"OTEL_EXPORTER_OTLP_ENDPOINT"},
        ALL: {"METRICS_ENABLED", "LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT"},
    }


def test_the_sink_takes_what_is_sent() -> None:
    with OtlpSink() as sink:
        for _ in range(2):
            with urllib.request.urlopen(f"{sink.endpoint}/v1/traces", data=b"spans") as answer:
                assert answer.status == 200
    assert sink.received == 10
