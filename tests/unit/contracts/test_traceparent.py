"""W3C Trace Context's ``traceparent``: what is one, and that nothing else refuses a message."""

import pytest

from contracts.execution import RunSteps, StepCommand
from contracts.history import ExecutionStarted
from contracts.traceparent import normalized

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize(
    ("came", "read"),
    [
        pytest.param(SAMPLED, SAMPLED, id="recorded"),
        pytest.param(UNSAMPLED, UNSAMPLED, id="not recorded"),
        pytest.param(f"00-{TRACE}-{SPAN}-03", SAMPLED, id="a flag of a later level"),
        pytest.param(f"00-{TRACE}-{SPAN}-02", UNSAMPLED, id="only a flag of a later level"),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", SAMPLED, id="all flags"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01", SAMPLED, id="a later version"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-what-comes-then", SAMPLED, id="a later version with more"),
    ],
)
def test_what_is_read_is_said_in_version_00(came: str, read: str) -> None:
    assert normalized(came) == read
    assert normalized(read) == read


@pytest.mark.parametrize(
    "came",
    [
        pytest.param("", id="nothing"),
        pytest.param(None, id="none"),
        pytest.param(7, id="a number"),
        pytest.param([SAMPLED], id="a list"),
        pytest.param("hello", id="some text"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", id="version ff"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", id="trace of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="span of zeros"),
        pytest.param(SAMPLED.upper(), id="upper case"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", id="trace in upper case"),
        pytest.param(f"00-{TRACE[:-1]}-{SPAN}-01", id="trace too short"),
        pytest.param(f"00-{TRACE}-{SPAN}a-01", id="span too long"),
        pytest.param(f"00-{TRACE}-{SPAN}-1", id="flags too short"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", id="version 00 with more"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-", id="version 00 with one dash more"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01more", id="a later version with more and no dash"),
        pytest.param(f" {SAMPLED}", id="a blank before"),
        pytest.param(f"{SAMPLED}\n", id="a line break behind"),
        pytest.param(f"0-{TRACE}-{SPAN}-01", id="version too short"),
        pytest.param(f"00_{TRACE}_{SPAN}_01", id="no dashes"),
        pytest.param(f"00-{TRACE.replace('4', '٤')}-{SPAN}-01", id="other digits"),
    ],
)
def test_what_is_none_is_as_if_it_had_not_come(came: object) -> None:
    assert normalized(came) == ""


@pytest.mark.parametrize("came", ["hello", 7, None, {"a": 1}, f"ff-{TRACE}-{SPAN}-01", "x" * 10_000])
def test_a_bad_one_refuses_no_message(came: object) -> None:
    command = {"execution_id": "e", "step": "s", "attempt": 1, "timeout": 5, "reply_key": "shard.0"}
    message = RunSteps.model_validate(
        {"agent_type": "a", "action": "do", "commands": [{**command, "traceparent": came}]}
    )
    assert message.commands[0].traceparent == ""
    started = {"definition_hash": "d", "request_hash": "r", "workflow_name": "w", "traceparent": came}
    assert ExecutionStarted.model_validate(started).traceparent == ""


def test_a_good_one_comes_through_json() -> None:
    command = StepCommand(
        execution_id="e", step="s", attempt=1, timeout=5, reply_key="shard.0", traceparent=f"cc-{TRACE}-{SPAN}-01-x"
    )
    assert StepCommand.model_validate_json(command.model_dump_json()).traceparent == SAMPLED


def test_what_was_written_before_there_were_any_is_read() -> None:
    started = ExecutionStarted.model_validate({"definition_hash": "d", "request_hash": "r", "workflow_name": "w"})
    assert started.traceparent == ""
