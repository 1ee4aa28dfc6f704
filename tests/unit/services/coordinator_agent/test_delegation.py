"""Whose child an execution is: ids, depth and what is refused, without a bus."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import topology
from contracts.execution import StartExecution
from services.coordinator_agent.delegate_models import DelegateInputs
from services.coordinator_agent.delegation import MAX_DEPTH, StartNow, child_of, depth_of
from services.runtime.agent import CapabilityError, StepContext

ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
attempts = st.integers(1, 9)


@given(execution=ids, step=ids, first=attempts, second=attempts)
def test_every_attempt_of_a_step_has_the_same_child(execution: str, step: str, first: int, second: int) -> None:
    child = child_of(StepContext(execution, step, first))
    assert child == child_of(StepContext(execution, step, second))
    assert StartExecution(execution_id=child[0]).execution_id == child[0]


@given(one=st.tuples(ids, ids), other=st.tuples(ids, ids))
def test_steps_do_not_share_a_child(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (child_of(StepContext(*one, 1)) == child_of(StepContext(*other, 1))) == (one == other)


def test_each_generation_is_one_deeper_until_the_limit() -> None:
    execution = "exec-1"
    assert depth_of(execution) == 0
    for depth in range(1, MAX_DEPTH + 1):
        execution, found = child_of(StepContext(execution, "again", 1))
        assert (depth_of(execution), found) == (depth, depth)
    with pytest.raises(CapabilityError, match=f"at most {MAX_DEPTH}") as caught:
        child_of(StepContext(execution, "again", 1))
    assert (caught.value.code, caught.value.retryable) == ("TooDeep", False)


def test_outside_of_a_step_every_child_is_new() -> None:
    (one, depth), (other, _) = child_of(None), child_of(None)
    assert depth == depth_of(one) == 1
    assert one != other


@pytest.mark.parametrize("name", ["delegate-1-x", "delegate-x-" + 32 * "0", "a-delegate-1-" + 32 * "0", "delegate-1"])
def test_other_ids_have_no_depth(name: str) -> None:
    assert depth_of(name) == 0


def test_the_start_is_answered_at_once() -> None:
    start = StartNow(execution_id="x", workflow_id="w")
    assert (start.address(), start.TYPE) == (topology.start_now(), StartExecution.TYPE)


@pytest.mark.parametrize(
    "wrong", [{}, {"workflow_id": "w", "definition": {}}, {"workflow_id": "w", "time_limit": 0}, {"workflow_id": ""}]
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DelegateInputs.model_validate(wrong)
