"""The judge of a fault run is given runs with one thing wrong, and must find that and nothing else."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.__main__ import main
from benchmarks.faults.checker import check
from benchmarks.faults.records import Recorder, Records, Row
from tests.support.fault_records import faultless_records, find, write


@pytest.fixture(scope="module")
def faultless() -> Records:
    return faultless_records()


def found(records: Records) -> set[tuple[str, str, str]]:
    return {(one.kind, one.execution_id, one.step) for one in check(records).violations}


def entry_with(records: Records, execution_id: str, **event: Any) -> Row:
    """The entry of an execution that holds an event with these fields."""
    for entry in records.log:
        if entry["execution_id"] == execution_id and any(
            all(one.get(name) == value for name, value in event.items()) for one in entry["events"]
        ):
            return entry
    raise AssertionError(f"{execution_id} has no {event}")


def event_with(records: Records, execution_id: str, **event: Any) -> Row:
    return find(entry_with(records, execution_id, **event)["events"], **event)


def test_a_run_in_which_nothing_went_wrong_passes(faultless: Records) -> None:
    verdict = check(faultless)
    assert verdict.violations == []
    assert verdict.counts["executions"] == 14
    assert (
        verdict.counts["steps succeeded"] + verdict.counts["steps failed"] + verdict.counts["steps skipped"]
        == (verdict.counts["steps"])
    )
    assert verdict.counts["ledger effects"] >= verdict.counts["steps succeeded"]
    assert verdict.by_status == {"completed": 12, "failed": 2}


def test_one_lost_and_one_doubled_result_are_both_found_in_a_recorded_run(
    faultless: Records, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ``python -m benchmarks.faults check`` says of a folder that was doctored by hand."""
    for name, doctor in (("whole", lambda _: None), ("doctored", _lose_one_and_double_one)):
        records = copy.deepcopy(faultless)
        doctor(records)
        with Recorder(tmp_path / name) as recorder:
            write(records, recorder)
    assert main(["check", str(tmp_path / "whole")]) == 0
    assert "0 violations; seed 3" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "doctored")]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("VIOLATION")]
    assert len(said) == 2
    assert said[0].startswith("VIOLATION lost result: diamond-0/bottom")
    assert said[1].startswith("VIOLATION doubled result: fan-0/first")


def _lose_one_and_double_one(records: Records) -> None:
    lost = entry_with(records, "diamond-0", kind="step_succeeded", step="bottom")
    lost["events"] = [event for event in lost["events"] if event["kind"] != "step_succeeded"]
    doubled = entry_with(records, "fan-0", kind="step_succeeded", step="first")
    doubled["events"].append(doubled["events"][0])


def _lost_effect(records: Records) -> None:
    records.ledger.remove(find(records.ledger, execution_id="diamond-1", step="bottom"))


def _doubled_effect(records: Records) -> None:
    effect = find(records.ledger, execution_id="diamond-1", step="bottom")
    records.ledger.append({**effect, "seq": len(records.ledger) + 1})


def _effect_of_a_skipped_step(records: Records) -> None:
    effect = find(records.ledger, execution_id="branch-0", step="first")
    row = {"step": "odd", "key": "branch-0/odd", "value": None, "seq": len(records.ledger) + 1}
    records.ledger.append({**effect, **row})


def _conflict(records: Records) -> None:
    effect = find(records.ledger, execution_id="diamond-1", step="left")
    records.ledger.append({**effect, "what": "conflict", "value": "other", "seq": len(records.ledger) + 1})


def _other_key(records: Records) -> None:
    effect = find(records.ledger, execution_id="diamond-1", step="left")
    records.ledger.append({**effect, "what": "repeat", "key": "elsewhere", "seq": len(records.ledger) + 1})


def _never_sent(records: Records) -> None:
    effect = find(records.ledger, execution_id="diamond-1", step="left")
    records.ledger.append({**effect, "what": "repeat", "attempt": 2, "seq": len(records.ledger) + 1})


def _unknown_step_in_the_ledger(records: Records) -> None:
    effect = find(records.ledger, execution_id="diamond-1", step="left")
    records.ledger.append({**effect, "step": "nowhere", "seq": len(records.ledger) + 1})


def _ran_too_early(records: Records) -> None:
    find(records.ledger, execution_id="diamond-1", step="left")["seq"] = 0


def _wrong_result(records: Records) -> None:
    event_with(records, "diamond-1", kind="step_succeeded", step="left")["output"]["value"] = "other"


def _no_log(records: Records) -> None:
    records.log = [entry for entry in records.log if entry["execution_id"] != "diamond-1"]
    records.ledger = [row for row in records.ledger if row["execution_id"] != "diamond-1"]
    records.events = [row for row in records.events if row["execution_id"] != "diamond-1"]


def _gap(records: Records) -> None:
    for entry in records.log:
        if entry["execution_id"] == "diamond-1":
            entry["n"] += entry["n"] > 3
    records.events = [row for row in records.events if row["execution_id"] != "diamond-1" or row["kind"] == "ended"]


def _applied_twice(records: Records) -> None:
    mine = [entry for entry in records.log if entry["execution_id"] == "diamond-1"]
    mine[2]["applied"] = mine[1]["applied"]
    records.events = [row for row in records.events if row["execution_id"] != "diamond-1" or row["kind"] == "ended"]


def _never_ended(records: Records) -> None:
    entry = entry_with(records, "diamond-1", kind="execution_ended")
    entry["events"] = [event for event in entry["events"] if event["kind"] != "execution_ended"]
    find(records.headers, execution_id="diamond-1")["status"] = "running"
    records.events.remove(find(records.events, execution_id="diamond-1", kind="ended"))


def _ended_twice(records: Records) -> None:
    entry_with(records, "diamond-1", kind="execution_ended")["events"].append(
        {"kind": "execution_ended", "status": "completed"}
    )


def _went_on(records: Records) -> None:
    entry = entry_with(records, "diamond-1", kind="execution_ended")
    entry["events"].append({"kind": "step_dispatched", "step": "bottom", "attempt": 2})


def _wrong_status(records: Records) -> None:
    event_with(records, "diamond-1", kind="execution_ended")["status"] = "failed"
    find(records.headers, execution_id="diamond-1")["status"] = "failed"
    find(records.events, execution_id="diamond-1", kind="ended")["status"] = "failed"


def _started_twice(records: Records) -> None:
    entry_with(records, "diamond-1", kind="execution_started")["events"].append({"kind": "execution_started"})


def _unknown_step(records: Records) -> None:
    event = {"kind": "step_dispatched", "step": "nowhere", "attempt": 1}
    entry_with(records, "diamond-1", kind="step_dispatched")["events"].append(event)


def _sent_too_early(records: Records) -> None:
    sending = entry_with(records, "diamond-1", kind="step_dispatched", step="left")
    early = entry_with(records, "diamond-1", kind="execution_started")
    early["events"] += sending["events"]
    sending["events"] = []


def _attempt_out_of_turn(records: Records) -> None:
    entry = entry_with(records, "diamond-1", kind="step_dispatched", step="left")
    entry["events"].append({"kind": "step_dispatched", "step": "left", "attempt": 2})


def _result_of_nothing(records: Records) -> None:
    event_with(records, "diamond-1", kind="step_succeeded", step="left")["attempt"] = 2


def _skipped_though_sent(records: Records) -> None:
    entry = entry_with(records, "branch-0", kind="step_skipped", step="odd")
    entry["events"].insert(0, {"kind": "step_dispatched", "step": "odd", "attempt": 1})


def _wrong_outcome(records: Records) -> None:
    event = event_with(records, "diamond-1", kind="step_succeeded", step="left")
    event |= {"kind": "step_failed", "error": {"type": "LeaseExpired", "message": "no result"}}


def _success_too_soon(records: Records) -> None:
    event_with(records, "retry-0", kind="step_succeeded", step="b")["attempt"] = 1


def _no_header(records: Records) -> None:
    records.headers.remove(find(records.headers, execution_id="diamond-1"))


def _header_ahead(records: Records) -> None:
    find(records.headers, execution_id="diamond-1")["n"] += 1


def _header_behind(records: Records) -> None:
    find(records.headers, execution_id="diamond-1")["status"] = "running"


def _end_not_told(records: Records) -> None:
    records.events.remove(find(records.events, execution_id="diamond-1", kind="ended"))


def _wrong_end_told(records: Records) -> None:
    records.events.append({"kind": "ended", "execution_id": "diamond-1", "status": "failed"})


def _told_and_not_stored(records: Records) -> None:
    records.events.append({"kind": "advanced", "execution_id": "diamond-1", "n": 99, "applied": ["x"]})


def _other_entry_told(records: Records) -> None:
    find(records.events, execution_id="diamond-1", kind="advanced", n=2)["applied"] = ["another"]


def _stranger(records: Records) -> None:
    records.headers.append({"execution_id": "stranger", "n": 1, "status": "completed"})


D, B = "diamond-1", "branch-0"
LOST_EFFECTS = {("lost effect", D, step) for step in ("top", "left", "right", "bottom")}
WENT_ON = {("went on after its result", D, "bottom"), ("attempt out of turn", D, "bottom")}
ONE_WRONG: list[tuple[Callable[[Records], None], set[tuple[str, str, str]]]] = [
    (_lost_effect, {("lost effect", D, "bottom"), ("result without effect", D, "bottom")}),
    (_doubled_effect, {("doubled effect", D, "bottom")}),
    (
        _effect_of_a_skipped_step,
        {("effect that must not be", "branch-0", "odd"), ("ran what was never sent", "branch-0", "odd")},
    ),
    (_conflict, {("ran with other inputs", D, "left")}),
    (_other_key, {("wrong key", D, "left")}),
    (_never_sent, {("ran what was never sent", D, "left")}),
    (_unknown_step_in_the_ledger, {("unknown step", D, "nowhere")}),
    (_ran_too_early, {("ran before its dependencies", D, "left")}),
    (_wrong_result, {("wrong result", D, "left"), ("result without effect", D, "left")}),
    (
        _no_log,
        {("lost execution", D, ""), ("header", D, "")}
        | {("lost effect", D, s) for s in ("top", "left", "right", "bottom")},
    ),
    (_gap, {("log not dense", D, "")}),
    (_applied_twice, {("message applied twice", D, "")}),
    (_never_ended, {("never ended", D, "")}),
    (_ended_twice, {("ended twice", D, ""), ("went on after its end", D, "")}),
    (
        _went_on,
        {
            ("went on after its end", D, ""),
            ("went on after its result", D, "bottom"),
            ("attempt out of turn", D, "bottom"),
        },
    ),
    (_wrong_status, {("wrong status", D, "")}),
    (_started_twice, {("start", D, "")}),
    (_unknown_step, {("unknown step", D, "nowhere")}),
    (_sent_too_early, {("before its dependencies", D, "left")}),
    (_attempt_out_of_turn, {("attempt out of turn", D, "left")}),
    (_result_of_nothing, {("result of what was never sent", D, "left")}),
    (_skipped_though_sent, {("skipped after it was sent", B, "odd")}),
    (_wrong_outcome, {("wrong outcome", D, "left")}),
    (_success_too_soon, {("success that cannot be", "retry-0", "b")}),
    (_no_header, {("header", D, "")}),
    (_header_ahead, {("header", D, "")}),
    (_header_behind, {("header", D, "")}),
    (_end_not_told, {("end never told", D, "")}),
    (_wrong_end_told, {("wrong end told", D, "")}),
    (_told_and_not_stored, {("event that is not in the log", D, "")}),
    (_other_entry_told, {("event that is not in the log", D, "")}),
    (_stranger, {("execution that nobody started", "stranger", "")}),
]


@pytest.mark.parametrize(("doctor", "wrong"), ONE_WRONG, ids=[doctor.__name__.strip("_") for doctor, _ in ONE_WRONG])
def test_what_is_wrong_with_an_execution_is_found_by_its_name(
    faultless: Records, doctor: Callable[[Records], None], wrong: set[tuple[str, str, str]]
) -> None:
    records = copy.deepcopy(faultless)
    doctor(records)
    assert found(records) == wrong


@pytest.mark.parametrize(
    ("name", "row", "wrong"),
    [
        ("starts", {"what": "refused", "detail": "422"}, "start refused"),
        ("starts", {"what": "never accepted", "detail": "in 60 s"}, "start never accepted"),
        ("queues", {"name": "orchestrator.shard.0", "messages": 1}, "left in a queue"),
        ("queues", {"name": "orchestrator.shard.0", "messages": None}, "queue is gone"),
        ("services", {"name": "edge", "what": "ended by itself", "detail": "exit code 1"}, "service ended by itself"),
        ("run", {"seed": 4}, "no run"),
        (
            "dead_letters",
            {"message_id": "m", "type": "step.results.v1", "reason": "contract", "detail": "", "queue": "q"},
            "dead letter",
        ),
    ],
)
def test_what_is_wrong_with_the_system_is_found(faultless: Records, name: str, row: Row, wrong: str) -> None:
    records = copy.deepcopy(faultless)
    getattr(records, name).append(row)
    assert found(records) == {(wrong, "", "")}


def test_a_dead_letter_is_explained_by_a_copy_of_the_same_message(faultless: Records) -> None:
    records = copy.deepcopy(faultless)
    letter = {"message_id": "m", "type": "execution.start.v1", "reason": "refused", "detail": "", "queue": "q"}
    records.dead_letters.append(letter)
    records.copies.append({"message_id": "m", "type": "execution.start.v1"})
    verdict = check(records)
    assert verdict.passed
    assert verdict.counts["dead letters"] == 1


def test_a_wake_up_may_come_again_and_progress_may_be_lost(faultless: Records) -> None:
    records = copy.deepcopy(faultless)
    mine = [entry for entry in records.log if entry["execution_id"] == "retry-1"]
    for entry in mine[1:3]:
        entry["applied"] = ["wake:1.0"]
    records.events = [row for row in records.events if row["kind"] == "ended"]
    assert check(records).passed


def test_a_run_of_nothing_does_not_pass() -> None:
    assert {kind for kind, _, _ in found(Records())} == {"nothing ran", "no run"}


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert "holds no recorded run" in capsys.readouterr().err
    with Recorder(tmp_path):
        pass
    (tmp_path / "log.jsonl").write_text("{}\n{broken\n")
    assert main(["check", str(tmp_path)]) == 2
    assert "log.jsonl:2 is no JSON" in capsys.readouterr().err
