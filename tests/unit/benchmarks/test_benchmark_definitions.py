"""The workloads' workflows are what their names say."""

import pytest

from benchmarks.definitions import UnknownShape, definition, payload_of
from benchmarks.rounds import Workload
from benchmarks.workloads import GROUPS, chosen, shortened
from contracts.workflow import WorkflowDefinition, find_cycle, structure_faults
from services.runtime.definitions.dependencies import effective_dependencies

EVERY = [pytest.param(workload, id=workload.name) for workload in chosen([])]


def waits_of(workload: Workload) -> dict[str, set[str]]:
    """Step id -> what it waits for, by declaration or because it reads it."""
    read = WorkflowDefinition.model_validate(definition(workload))
    return {step: set(needed) for step, needed in effective_dependencies(read).items()}


@pytest.mark.parametrize("workload", EVERY)
def test_a_workload_has_the_steps_it_counts_and_no_fault(workload: Workload) -> None:
    read = WorkflowDefinition.model_validate(definition(workload))
    assert len(read.steps) == workload.steps
    assert structure_faults(read) == []
    assert find_cycle(waits_of(workload)) is None


def test_a_chain_waits_link_by_link() -> None:
    assert waits_of(Workload("c", "chain", 3, 1, 1)) == {"s0": set(), "s1": {"s0"}, "s2": {"s1"}}


def test_a_fan_opens_after_its_first_step_and_closes_with_its_last() -> None:
    waits = waits_of(Workload("f", "fan", 5, 1, 1))
    assert waits == {"first": set(), "m0": {"first"}, "m1": {"first"}, "m2": {"first"}, "last": {"m0", "m1", "m2"}}


@pytest.mark.parametrize("workload", GROUPS["grow"], ids=lambda one: one.name)
def test_growing_workflows_differ_in_size_only(workload: Workload) -> None:
    waits = waits_of(workload)
    assert workload.steps % workload.width == 0
    assert workload.in_flight * workload.width == 40
    assert workload.total_steps == 4_000
    assert {len(needed) for needed in waits.values()} == {0, 2}
    assert sum(not needed for needed in waits.values()) == workload.width


def test_a_shape_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(UnknownShape, match="'ring' is not chain, fan, layered or start"):
        definition(Workload("r", "ring", 3, 1, 1))


@pytest.mark.parametrize("size", [1, 12, 13, 100, 1_000_000])
def test_a_payload_has_its_size(size: int) -> None:
    assert len(payload_of(7, size).encode()) == size


def test_payloads_of_different_workflows_differ() -> None:
    assert len({payload_of(number, 100) for number in range(1_000)}) == 1_000


def test_a_shorter_workload_still_fills_its_places() -> None:
    for workload in chosen([]):
        assert workload.in_flight <= shortened(workload, 1_000).workflows <= workload.workflows
