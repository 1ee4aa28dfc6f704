"""A hundred executions of every kind, and what the metrics say of them: compared with the logs in the store, with what
the agents noted, and with every message on the broker."""

import asyncio
import re
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from contracts.execution import (
    CancelAccepted,
    CancelExecution,
    ExecutionAccepted,
    Refused,
    RunSteps,
    StartExecution,
    StepCommand,
    StepResult,
    StepResults,
)
from contracts.history import LogEntry
from contracts.registry import AgentCreated, AgentMail, CreateAgent
from contracts.topology import start_now
from contracts.workflow import CreateWorkflow
from scripts.prometheus_tools import find_prometheus_tools
from scripts.servers import ServerNotFound, find_rabbitmq
from services.runtime.envelope_codec import Outgoing
from services.runtime.settings import Protocol, Settings
from tests.conftest import found_or_not_run, in_ci
from tests.support.counted_agent import CountedAgent
from tests.support.metered_system import PATIENCE, MeteredSystem, Scrape, metered_system
from tests.support.patience import patient_publishing

MARK = "ident"  # begins every id that a test makes up: no label may have it in it
NAMED = f"{MARK}_agent"
TYPE = CountedAgent.agent_type
LATE = 2 + 5  # two that the test sends, and those of the steps whose execution was cancelled
Steps = list[dict[str, Any]]


every_bus = pytest.mark.parametrize(
    "settings", ["direct", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)], indirect=True
)


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """For a system of this test's own, over ``direct`` unless the test says otherwise: its queues have nobody else's
    messages in them."""
    common: dict[str, Any] = {"metrics_port": 0, "report_interval": 300.0, "agent_heartbeat": 1.0}
    if getattr(request, "param", "direct") == "direct":
        yield Settings(communication_protocol=Protocol.DIRECT, **common)
        return
    with found_or_not_run(lambda: find_rabbitmq(own=True, install=in_ci())) as server:
        yield Settings(communication_protocol=Protocol.RABBITMQ, rabbitmq_url=server.url, **common)


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[MeteredSystem]:
    with patient_publishing():  # what the broker confirmed too late would be sent, and counted, again
        async with metered_system(settings) as system:
            yield system


# ---- the hundred


def step(step_id: str, action: str = "work", *, fails: int = 0, key: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": step_id,
        "agent_type": TYPE,
        "action": action,
        "inputs": {"key": key or f"{{number}}/{step_id}", "fails": fails},
        **more,
    }


RETRY = {"max_attempts": 3, "backoff": 0}
SHAPES: dict[str, tuple[int, Steps]] = {
    "chain": (30, [step("a"), step("b", depends_on=["a"])]),
    "flaky": (10, [step("a", fails=2, retry=RETRY)]),
    "patient": (5, [step("a", fails=1, retry={"max_attempts": 2, "backoff": 0.05})]),
    "broken": (10, [step("a", "break"), step("b", depends_on=["a"])]),
    "slow": (10, [step("a", "dawdle", timeout=0.1, retry={"max_attempts": 2, "backoff": 0})]),
    "quitting": (5, [step("a", "quit")]),
    "branching": (10, [step("a"), step("b", depends_on=["a"], when="steps.a.output.key == 'x'"), step("c")]),
    "caching": (10, [step("a", "look_up", key="same", cache={"ttl": 600})]),
    "named": (5, [step("a", agent_id=NAMED)]),
    "cancelled": (5, [step("a", "dawdle", timeout=60), step("b", depends_on=["a"])]),
}


def definition(name: str, number: int) -> dict[str, Any]:
    steps = [
        {**one, "inputs": {**one["inputs"], "key": one["inputs"]["key"].format(number=f"{name}{number}")}}
        for one in SHAPES[name][1]
    ]
    return {"name": f"{MARK} {name}", "steps": steps}


async def run_a_hundred(system: MeteredSystem) -> None:
    created = await system.ask(CreateAgent(agent_type=TYPE, agent_id=NAMED))
    assert isinstance(created, AgentCreated), created
    ids = {f"{MARK}-{name}-{n}": definition(name, n) for name, (count, _) in SHAPES.items() for n in range(count)}
    assert len(ids) == 100
    starts = [StartExecution(execution_id=one, definition=what, client=MARK) for one, what in ids.items()]
    for answer in await asyncio.gather(*(system.ask(one) for one in starts)):
        assert isinstance(answer, ExecutionAccepted), answer
    to_cancel = [one for one in ids if one.startswith(f"{MARK}-cancelled")]
    await system.until(lambda: dawdling(system, to_cancel))
    for answer in await asyncio.gather(*(system.ask(CancelExecution(execution_id=one)) for one in to_cancel)):
        assert isinstance(answer, CancelAccepted), answer
    await system.until(lambda: all_ended(system, set(ids)))


async def dawdling(system: MeteredSystem, ids: list[str]) -> bool:
    """Whether an agent is at work on the first step of all of these."""
    return all(system.ledger.keys[f"cancelled{one.rsplit('-', 1)[1]}/a"] for one in ids)


async def all_ended(system: MeteredSystem, ids: set[str]) -> bool:
    headers = await system.store.read_headers(ids)
    return len(headers) == len(ids) and all(header.status.ended for header in headers.values())


async def misuse(system: MeteredSystem) -> None:
    """What is refused, comes too late, or names what there is not."""
    known = f"{MARK}-chain-0"
    refusals = [
        (
            StartExecution(execution_id=f"{MARK}-1", definition={"name": "x", "steps": [step("a", f"{MARK}_no")]}),
            "invalid",
        ),
        (StartExecution(execution_id=f"{MARK}-2", definition={"name": "x", "steps": []}), "invalid"),
        (StartExecution(execution_id=f"{MARK}-3", workflow_id=f"{MARK}-nowhere"), "not_found"),
        (StartExecution(execution_id=known, definition=definition("flaky", 7), client=MARK), "conflict"),
    ]
    for start, code in refusals:
        answer = await system.ask(start)
        assert isinstance(answer, Refused), answer
        assert answer.code == code
    late = StepResult(result_id="late", execution_id=known, step="a", attempt=1, ok=True, output={"key": "other"})
    await system.outbox.send([Outgoing(results_of(late)), Outgoing(results_of(late))])
    made_up = StepCommand(execution_id=f"{MARK}-none", step="s", attempt=1, timeout=5.0, reply_key="shard.0")
    for action in (f"{MARK}_one", f"{MARK}_two"):
        await system.outbox.send([Outgoing(RunSteps(agent_type=TYPE, action=action, commands=(made_up,)))])


def results_of(result: StepResult) -> StepResults:
    return StepResults(reply_key="shard.0", agent_type=TYPE, action="work", results=(result,))


async def write_to_agents(system: MeteredSystem) -> None:
    for agent_id in (TYPE, NAMED, NAMED):
        for kind in ("hello", "nonsense", "second_try"):
            await system.ask(AgentMail(agent_id=agent_id, message_type=kind, body={}))


# ---- what really happened


class Happened:
    """Counted from the logs: plain loops over what is stored, which share no code with what is tested."""

    def __init__(self, logs: dict[str, list[LogEntry]]) -> None:
        self.ends: Counter[str] = Counter()
        self.durations: Counter[str] = Counter()
        self.steps: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.timeouts: Counter[str] = Counter()
        self.waits: dict[str, list[float]] = {}
        self.runs: dict[str, list[float]] = {}
        for execution_id, entries in logs.items():
            self._read(SHAPES[execution_id.split("-")[1]][1], entries)

    def _read(self, steps: Steps, entries: list[LogEntry]) -> None:
        actions = {one["id"]: str(one["action"]) for one in steps}
        sent_at: dict[tuple[str, int], float] = {}
        for entry in entries:
            for event in entry.events:
                said = event.model_dump()
                kind, action = said["kind"], actions.get(said.get("step", ""), "")
                if kind == "execution_ended":
                    self.ends[said["status"]] += 1
                    self.durations[said["status"]] += entry.at - entries[0].at  # type: ignore[assignment]
                elif kind == "step_dispatched":
                    self.sent[action] += 1
                    self.retries[action] += said["attempt"] > 1
                    sent_at[said["step"], said["attempt"]] = entry.at
                elif kind in ("step_succeeded", "step_failed", "step_skipped", "step_cancelled"):
                    self.steps[action, kind.removeprefix("step_")] += 1
                if kind in ("attempt_failed", "step_failed"):
                    self.timeouts[action] += said["error"]["type"] == "Timeout"
                if said.get("started_at"):
                    sent = sent_at[said["step"], said["attempt"]]
                    self.waits.setdefault(action, []).append(max(0.0, said["started_at"] - sent))
                    if not said.get("cached"):
                        self.runs.setdefault(action, []).append(said["finished_at"] - said["started_at"])


async def settled(system: MeteredSystem, holds: Callable[[Scrape], bool]) -> Scrape:
    """A scrape for which that holds: hosts report, and messages travel, while one looks."""

    async def looked() -> Scrape | None:
        scrape = await system.scrape()
        return scrape if holds(scrape) else None

    try:
        found: Scrape = await system.until(looked)
        return found
    except TimeoutError:
        return await system.scrape()


@every_bus
async def test_monitoring_service_metrics(system: MeteredSystem) -> None:
    await run_a_hundred(system)
    await misuse(system)
    await write_to_agents(system)
    scrape = await settled(system, lambda seen: seen["conclave_late_results_total"] == LATE and quiet(system, seen))
    happened = Happened(await system.logs())
    ledger = system.ledger

    # Executions.
    assert scrape["conclave_executions_started_total"] == 100
    assert happened.ends == {"completed": 70, "failed": 25, "cancelled": 5}
    assert scrape.by("conclave_executions_ended_total", "status") == happened.ends
    assert scrape.by("conclave_execution_duration_seconds_count", "status") == happened.ends
    sums = scrape.by("conclave_execution_duration_seconds_sum", "status")
    assert sums == pytest.approx(dict(happened.durations))
    assert scrape.by("conclave_starts_refused_total", "code") == {"invalid": 2, "not_found": 1, "conflict": 1}
    assert scrape["conclave_late_results_total"] == LATE
    assert scrape["conclave_starts_waiting"] == 0
    assert scrape["conclave_executions_open"] == 0

    # Steps.
    steps = scrape.by("conclave_steps_ended_total", "action", "status", agent_type=TYPE)
    assert steps == {pair: count for pair, count in happened.steps.items() if count}
    assert {status: sum(n for (_, one), n in steps.items() if one == status) for _, status in steps} == {
        "succeeded": 30 + 30 + 10 + 5 + 10 + 10 + 10 + 5,
        "failed": 10 + 10 + 5,
        "skipped": 10 + 10,
        "cancelled": 10,
    }
    assert scrape.by("conclave_steps_dispatched_total", "action") == dict(happened.sent)
    assert scrape.by("conclave_step_retries_total", "action") == {"work": 25, "dawdle": 10} == +happened.retries
    assert scrape.by("conclave_step_timeouts_total", "action") == {"dawdle": 20} == +happened.timeouts
    assert scrape["conclave_step_resends_total"] == 0
    for name, times in (("wait", happened.waits), ("run", happened.runs)):
        counts = {action: len(some) for action, some in times.items()}
        assert scrape.by(f"conclave_step_{name}_seconds_count", "action") == counts
        totals = {action: sum(some) for action, some in times.items() if sum(some)}
        assert scrape.by(f"conclave_step_{name}_seconds_sum", "action") == pytest.approx(totals)
        assert buckets_of(scrape, f"conclave_step_{name}_seconds", "work") == buckets_by_hand(
            scrape, f"conclave_step_{name}_seconds", times["work"]
        )

    # Agents, by their own ledger.
    outcomes = scrape.by("conclave_agent_actions_total", "action", "outcome", agent_type=TYPE)
    assert outcomes == {
        **ledger.ended,
        ("dawdle", "timeout"): 20,
        ("dawdle", "cancelled"): 5,
        ("look_up", "cached"): 10 - ledger.begun["look_up"],
        ("unknown", "refused"): 2,
    }
    assert ledger.begun["dawdle"] == 25
    assert 1 <= ledger.begun["look_up"] < 10
    assert sum(outcomes.values()) == sum(happened.sent.values()) + 2
    ran = Counter(ledger.begun)
    ran["dawdle"] -= 5  # those that were cancelled
    assert scrape.by("conclave_agent_action_duration_seconds_count", "action") == dict(ran)
    assert scrape["conclave_agent_actions_in_progress"] == 0
    assert scrape.by("conclave_agent_messages_total", "outcome", agent_type=TYPE) == dict(ledger.mail)
    assert ledger.mail == {"answered": 6, "failed": 3, "retried": 3}

    # Commits.
    assert scrape["conclave_commits_put_off_total"] == 0
    commits = scrape["conclave_commit_items_count"]
    assert commits == scrape["conclave_commit_record_seconds_count"] == scrape["conclave_commit_tell_seconds_count"]
    items = 100 + 5 + sum(happened.sent.values()) + 1 + 2 + 2 + wake_ups(await system.logs())
    assert items <= scrape["conclave_commit_items_sum"] <= items + 5  # a timer may fire twice
    assert 1 <= commits <= items

    # Messages.
    assert scrape.by("conclave_messages_published_total", "exchange", "type") == system.tap.of_services()
    assert scrape["conclave_messages_redelivered_total"] == 0
    assert scrape["conclave_messages_unroutable_total"] == 0
    # Its sweeps begin before its bus does.
    assert set(scrape.by("conclave_messages_unconfirmed_total", "service")) <= {"registry"}
    assert scrape.by("conclave_messages_refused_total", "service", "reason") == {
        ("orchestrator", "unknown-execution"): 2,
    }
    assert scrape.by("conclave_bus_connected", "service") == dict.fromkeys(("orchestrator", "registry", "counted"), 1)
    assert scrape["conclave_bus_reconnects_total"] == 0
    read = scrape.by("conclave_message_lag_seconds_count", "service", "queue")
    assert read == scrape.by("conclave_messages_received_total", "service", "queue")
    if system.protocol is Protocol.RABBITMQ:
        taken = scrape.by("faststream_received_messages_total", "app_name", "handler", broker="rabbitmq")
        assert taken == read
        assert taken == scrape.by("faststream_received_processed_messages_total", "app_name", "handler", status="acked")


def quiet(system: MeteredSystem, scrape: Scrape) -> bool:
    """Whether everything that was sent has been taken and settled, and what was heard is what was counted."""
    taken = scrape.by("conclave_messages_received_total", "service", "queue")
    return (
        scrape["conclave_messages_in_hand"] == 0
        and scrape["conclave_executions_open"] == 0
        and scrape.by("conclave_messages_settled_total", "service", "queue") == taken
        and scrape.by("conclave_messages_published_total", "exchange", "type") == system.tap.of_services()
        and sum(scrape.by("conclave_agent_actions_total", "outcome", outcome="refused").values()) == 2
        and scrape["conclave_messages_refused_total"] == 2
    )


def wake_ups(logs: dict[str, list[LogEntry]]) -> int:
    return sum(one.startswith("wake:") for entries in logs.values() for entry in entries for one in entry.applied)


def buckets_of(scrape: Scrape, name: str, action: str) -> dict[str, float]:
    return scrape.by(f"{name}_bucket", "le", action=action)


def buckets_by_hand(scrape: Scrape, name: str, seconds: list[float]) -> dict[str, float]:
    bounds = {bound for label, bound in ((one, value) for _, one, value in scrape.labels) if label == "le"}
    mine = {bound for bound in bounds if bound in buckets_of(scrape, name, "work")}
    return {bound: sum(one <= float(bound) for one in seconds) for bound in mine}


async def test_open_executions_and_starts_that_wait(settings: Settings) -> None:
    """As many are open as may be: who wants in at once is refused, who can wait does."""
    steps = [step("a", "dawdle", key=MARK, timeout=60)]
    starts = [
        StartExecution(execution_id=f"{MARK}-slow-{n}", definition={"name": "slow", "steps": steps}) for n in range(4)
    ]
    async with metered_system(settings.model_copy(update={"max_open_executions": 2})) as system:
        for start in starts[:2]:
            assert isinstance(await system.ask(start), ExecutionAccepted)
        answer = await system.requests.ask(Outgoing(starts[2], to=start_now()), PATIENCE)
        assert isinstance(answer, Refused), answer
        assert answer.code == "overloaded"
        await system.outbox.send([Outgoing(starts[3])])

        def holds(seen: Scrape) -> bool:
            return seen["conclave_starts_waiting"] == 1 and seen["conclave_executions_open"] == 2

        scrape = await settled(system, holds)
        assert scrape["conclave_starts_waiting"] == 1
        assert scrape["conclave_executions_open"] == 2
        assert scrape.by("conclave_starts_refused_total", "code") == {"overloaded": 1}
        assert scrape.by("conclave_agent_actions_in_progress", "agent_type", "action") == {(TYPE, "dawdle"): 2}
        assert scrape.by("conclave_messages_in_hand", "service", "queue", service="orchestrator") == {
            ("orchestrator", "orchestrator.starts"): 1
        }
        for start in starts[:2]:
            await system.ask(CancelExecution(execution_id=start.execution_id))
        scrape = await settled(system, lambda seen: seen["conclave_executions_started_total"] == 3)
        assert scrape["conclave_executions_started_total"] == 3
        assert scrape["conclave_starts_waiting"] == 0
        await system.ask(CancelExecution(execution_id=starts[3].execution_id))


@every_bus
async def test_no_label_holds_an_id(system: MeteredSystem) -> None:
    """Of an execution, a workflow, an agent, a host, a message, or a client's making."""
    stored = await system.ask(CreateWorkflow(workflow_id=f"{MARK}-workflow", definition=definition("chain", 0)))
    assert not isinstance(stored, Refused), stored
    await system.ask(CreateAgent(agent_type=TYPE, agent_id=NAMED))
    for n, what in enumerate([{"workflow_id": f"{MARK}-workflow"}, {"definition": definition("named", 1)}]):
        await system.ask(StartExecution(execution_id=f"{MARK}-chain-{n}", client=MARK, **what))
    await system.until(lambda: all_ended(system, {f"{MARK}-chain-0", f"{MARK}-chain-1"}))
    await misuse(system)
    await write_to_agents(system)
    scrape = await settled(system, lambda seen: seen["conclave_messages_refused_total"] == 2)
    hosts = {host.announced.host_id for host in await system.store.list_hosts()}
    agents = [record for record in system.store.rows["agents"] if record != TYPE]
    assert hosts
    assert agents == [NAMED]
    for name, label, value in scrape.labels:
        assert MARK not in value, f"{name} {label}={value}"
        assert not any(host in value for host in hosts), f"{name} {label}={value}"
        assert label == "le" or not re.search(r"[0-9a-f]{8}", value), f"{name} {label}={value}"
    allowed = {"service", "queue", "exchange", "type", "outcome", "reason", "agent_type", "action", "status", "code"}
    ours = {label for name, label, _ in scrape.labels if name.startswith("conclave_")}
    assert ours - {"le"} <= allowed


async def test_what_is_scraped_is_the_same_in_both_formats(system: MeteredSystem) -> None:
    await run_a_hundred(system)
    await settled(system, lambda seen: quiet_hundred(system, seen))
    plain, openmetrics = await system.scrape(), await system.scrape_openmetrics()
    for name in ("conclave_steps_ended_total", "conclave_step_run_seconds_bucket", "conclave_agent_actions_total"):
        labels = ("agent_type", "action") if "bucket" not in name else ("action", "le")
        assert plain.by(name, *labels)
        assert plain.by(name, *labels) == openmetrics.by(name, *labels)


def quiet_hundred(system: MeteredSystem, scrape: Scrape) -> bool:
    return sum(scrape.by("conclave_executions_ended_total", "status").values()) == 100 and (
        scrape["conclave_agent_actions_in_progress"] == 0
    )


# ---- names


async def test_names_follow_the_conventions_of_prometheus(system: MeteredSystem) -> None:
    await run_a_hundred(system)
    scrape = await system.scrape()
    ours = [family for family in scrape.families if family.name.startswith("conclave_")]
    assert len(ours) > 30
    for family in ours:
        name = family.name + ("_total" if family.type == "counter" else "")
        assert re.fullmatch(r"conclave(_[a-z]+)+", name)
        assert family.documentation
        assert family.type != "unknown"
        samples = {sample.name for sample in family.samples if not sample.name.endswith("_created")}
        if family.type == "counter":
            assert samples <= {name}
        else:
            assert not name.endswith(("_total", "_count", "_sum", "_bucket"))
        for unit in ("_ms", "_milliseconds", "_minutes", "_kb", "_mb", "_percent", "_duration"):
            assert not name.removesuffix("_total").endswith(unit)
        for kind in ("_counter", "_gauge", "_histogram"):
            assert kind not in name
        if family.type == "histogram" and family.name != "conclave_commit_items":
            assert family.name.endswith("_seconds")


async def test_promtool_has_nothing_to_say(system: MeteredSystem) -> None:
    try:
        promtool = find_prometheus_tools().promtool
    except ServerNotFound as error:
        pytest.skip(str(error))
    page = await system.page()
    check = partial(subprocess.run, input=page, capture_output=True, text=True, check=False)
    said = await asyncio.to_thread(check, [promtool, "check", "metrics"])
    assert said.returncode == 0, said.stdout + said.stderr
    assert "conclave_" not in said.stdout + said.stderr
