"""The monitor with real services: what is wrong is seen, named, and goes away once it is mended."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.agents import AgentStatus
from contracts.dead_letters import DeadLetter
from contracts.execution import CancelAccepted, CancelExecution
from contracts.monitoring_health import HealthStatus, Severity
from contracts.registry import CreateAgent
from services.monitor.service_health import EXPECTED
from services.runtime.store.base import StoreUnavailable
from tests.support.buses import delete_queues
from tests.support.monitored import Monitored
from tests.support.patience import patient_publishing


@pytest.fixture(params=["direct", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def system(request: pytest.FixtureRequest) -> AsyncIterator[Monitored]:
    """With a lease so short that what nobody works on is due soon. Its queues have the names that they have everywhere,
    so it has a broker that no other test uses at the same time."""
    url = request.getfixturevalue("own_rabbit").url if request.param == "rabbitmq" else ""
    names = [*(queue.name for queue in Monitored.queues()), "porter.agent.joe"]
    if url:
        await delete_queues(url, names)
    # Steps that say nothing of a timeout have a long one: none of them is sent twice where this process stands still.
    with patient_publishing():
        system = Monitored(url, step_lease=0.5, agent_timeout=30.0)
        try:
            await system.start()
            await system.all_well()
            yield system
        finally:
            await system.end()
            if url:
                await delete_queues(url, names)


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


async def test_every_view_shows_a_system_that_works(system: Monitored) -> None:
    assert await system.run_errands(12) == ["completed"] * 12

    health = await system.all_well()
    assert health.status is HealthStatus.OK
    assert {one.name: one.fault for one in health.components} == {"bus": "", "store": ""}
    running = {one.service: one for one in health.services}
    assert set(EXPECTED) | {"porter"} == set(running)
    for name, service in running.items():
        assert [(one.ready, one.silent, one.faults) for one in service.instances] == [(True, False, ())], name
        assert service.consumers == (None if name == "porter" else 1)

    workflows = await system.until(lambda: counted(system, 12))
    assert [(one.window, one.completed, one.failed) for one in workflows.windows[:1]] == [(60.0, 12, 0)]
    (errand,) = workflows.workflows
    assert (errand.workflow_name, errand.recent_ended, errand.recent_failed) == ("errand", 12, 0)
    assert errand.failing_since is None
    assert errand.duration_p50 is not None
    assert 0 < errand.duration_p50 <= workflows.slowest[0].duration
    assert (workflows.overdue_count, workflows.stuck_count) == (0, 0)
    await system.until(lambda: none_open(system))

    async def acted() -> Any:
        view = await system.view("agents")
        acted = view.types[0].actions and view.types[0].actions[0].calls == 12
        # What its host said last may be that it is at work.
        return view if acted and view.types[0].statuses == {AgentStatus.IDLE: 1} else None

    (porters,) = (await system.until(acted)).types
    assert (porters.agent_type, porters.hosts_available, porters.hosts_silent) == ("porter", 1, 0)
    assert porters.statuses == {AgentStatus.IDLE: 1}
    assert [(one.action, one.failed, one.failing) for one in porters.actions] == [("carry", 0, False)]

    async def flowed() -> Any:
        view = await system.view("queues")
        porter = next(one for one in view.queues if one.name == "porter")
        # Hosts and timers speak all the time, so something may be on its way at a look.
        return view if porter.out_rate and not any(one.ready for one in view.queues) else None

    queues = await system.until(flowed)
    assert queues.missing == ()
    shown = {one.name: one for one in queues.queues}
    assert {queue.name for queue in Monitored.queues()} == set(shown)
    assert {name: one.ready for name, one in shown.items() if one.ready} == {}
    assert shown["porter"].in_rate == pytest.approx(shown["porter"].out_rate)
    assert shown["porter"].lag_p95 is not None
    assert (queues.dead_letters.stored, queues.dead_letters.arrived) == (0, 0)

    async def reported() -> Any:
        (window,) = (await system.view("metrics", window=60)).windows
        return sum(window.executions.ended.values()) >= 12 and window.executions.ended

    assert await system.until(reported) == {"completed": 12}

    async def all_report() -> bool:
        """Just after this process has stood still, none has reported lately."""
        return len((await system.view("system")).processes) == len(running)

    await system.until(all_report)


async def none_open(system: Monitored) -> bool:
    return bool((await system.view("workflows")).open == 0)


async def counted(system: Monitored, ended: int) -> Any:
    view = await system.view("workflows")
    window = view.windows[0]
    return view if window.completed + window.failed + window.cancelled >= ended else None


async def test_a_service_that_was_stopped_is_missing_until_it_runs_again(system: Monitored) -> None:
    await system.stop("dead_letters")
    problem = await system.problem("service_missing", "service:dead_letters")
    assert problem.severity is Severity.ERROR
    assert "dead-letters" in problem.what
    health = await system.health()
    assert health.status is HealthStatus.DEGRADED
    # It said that it would end: nobody misses its reports.
    assert "service_silent" not in {one.code for one in health.problems}
    await system.run("dead_letters")
    await system.all_well()


async def test_without_an_orchestrator_the_system_is_down(system: Monitored) -> None:
    await system.stop("orchestrator")
    problem = await system.problem("service_missing", "service:orchestrator")
    assert problem.severity is Severity.CRITICAL
    assert (await system.health()).status is HealthStatus.DOWN
    (monitor,) = system.members["monitor"]

    async def shown() -> bool:
        """It may have been a problem while the last of its queues was still served."""
        gauges = await system.gauges(monitor)
        critical = gauges["conclave_monitor_problems", labels(severity="critical")]
        return (critical, gauges["conclave_queue_consumers", labels(queue="orchestrator.starts")]) == (1, 0)

    await system.until(shown)
    await system.run("orchestrator")
    await system.all_well()
    gauges = await system.gauges(monitor)
    assert gauges["conclave_monitor_problems", labels(severity="critical")] == 0
    assert gauges["conclave_queue_consumers", labels(queue="orchestrator.starts")] == 1

    async def reported() -> bool:
        gauges = await system.gauges(monitor)
        return gauges["conclave_service_instances", labels(service="orchestrator", ready="true")] == 1

    await system.until(reported)


async def test_a_process_that_died_is_missed_until_another_takes_its_place(system: Monitored) -> None:
    await system.run("access")
    await system.until(lambda: both_report(system, "access"))
    await system.kill("access")

    async def is_a_warning() -> bool:
        """Another one does its work, although at a look just after this process has stood still it seems silent too."""
        problem = await system.problem("service_silent", "service:access")
        return problem.severity is Severity.WARNING

    await system.until(is_a_warning)
    await system.run("access")
    await system.all_well()
    assert await has_instances(system, "access", 2)


async def both_report(system: Monitored, name: str) -> bool:
    """And the older has done so after the younger began: so that this one cannot be taken for its successor."""
    instances = {one.service: one for one in (await system.health()).services}[name].instances
    return len(instances) == 2 and instances[0].heard_at > instances[1].started_at + 1.0


async def has_instances(system: Monitored, name: str, count: int) -> bool:
    services = {one.service: one for one in (await system.health()).services}
    return len(services[name].instances) == count


async def test_a_type_whose_host_died_and_the_queue_that_nobody_serves(system: Monitored) -> None:
    await system.kill("porter")
    await system.problem("agent_type_without_host", "agent_type:porter")
    await system.problem("service_silent", "service:porter")
    waiting = await system.begin(timeout=30)
    problem = await system.problem("queue_unserved", "queue:porter")
    assert problem.what.startswith("1 message waits in porter")
    (porters,) = (await system.view("agents")).types
    assert (porters.hosts_available, porters.consumers, porters.waiting) == (0, 0, 1)
    (monitor,) = system.members["monitor"]
    gauges = await system.gauges(monitor)
    assert gauges["conclave_agent_hosts", labels(agent_type="porter", available="true")] == 0
    assert gauges["conclave_queue_messages", labels(queue="porter")] == 1
    await system.run("porter")
    assert await system.ended(waiting) == "completed"
    await system.all_well()


async def test_hosts_that_ended_in_good_order_are_not_silent_however_often_they_are_restarted(
    system: Monitored,
) -> None:
    async def hosts(*expected: int) -> bool:
        (porters,) = (await system.view("agents")).types
        return (porters.hosts_available, porters.hosts_silent, len(porters.hosts)) == expected

    for _ in range(3):
        await system.stop("porter")
        await system.until(lambda: hosts(0, 0, 1))
        await system.run("porter")
        await system.until(lambda: hosts(1, 0, 1))
    await system.stop("porter")
    await system.problem("agent_type_without_host", "agent_type:porter")
    await system.run("porter")
    await system.all_well()


async def test_one_of_two_hosts_that_died_is_missed_until_another_comes(system: Monitored) -> None:
    await system.run("porter")

    async def hosts(available: int) -> bool:
        return bool((await system.view("agents")).types[0].hosts_available == available)

    await system.until(lambda: hosts(2))
    await system.until(lambda: both_report(system, "porter"))
    both_there = time.time()

    async def both_heard_of() -> bool:
        """Since then: so that neither can be taken for the other's successor."""
        return all(host.seen_at > both_there for host in await system.store.list_hosts())

    await system.until(both_heard_of)
    before = {host.announced.host_id for host in await system.store.list_hosts()}
    await system.kill("porter")

    async def silent() -> str | None:
        problems = (await system.health()).problems
        return next((one.subject for one in problems if one.code == "host_silent"), None)

    subject = await system.until(silent)
    assert subject.removeprefix("host:") in before
    await system.run("porter")
    await system.until(lambda: hosts(2))
    await system.all_well()


async def test_timers_that_do_not_fire(system: Monitored) -> None:
    await system.kill("porter")
    execution_id = await system.begin(timeout=3)
    await system.stop("orchestrator")  # long before its lease ends, and then nobody sees to it
    problem = await system.problem("executions_overdue", "executions")
    assert execution_id in problem.what
    view = await system.view("workflows")
    assert [one.execution_id for one in view.overdue] == [execution_id]
    assert view.overdue[0].overdue_by >= 0.5
    (monitor,) = system.members["monitor"]
    assert (await system.gauges(monitor))["conclave_executions_overdue", ()] == 1
    await system.run("orchestrator")
    await system.run("porter")
    assert await system.ended(execution_id) in ("completed", "failed")
    await system.until(lambda: no_overdue(system))
    assert (await system.gauges(monitor))["conclave_executions_overdue", ()] == 0


async def no_overdue(system: Monitored) -> bool:
    view = await system.view("workflows")
    codes = {one.code for one in (await system.health()).problems}
    return not view.overdue and "executions_overdue" not in codes


async def test_an_execution_that_no_timer_will_save(system: Monitored) -> None:
    await system.kill("porter")
    execution_id = await system.begin(timeout=1)
    header = (await system.store.read_headers([execution_id]))[execution_id]
    await system.store.write_headers([header.model_copy(update={"wake_at": None})])
    problem = await system.problem("executions_stuck", "executions")
    assert execution_id in problem.what
    (stuck,) = (await system.view("workflows")).stuck
    assert (stuck.execution_id, stuck.overdue_by) == (execution_id, None)
    (monitor,) = system.members["monitor"]
    assert (await system.gauges(monitor))["conclave_executions_stuck", ()] == 1
    answer = await system.ask(CancelExecution(execution_id=execution_id))
    assert isinstance(answer, CancelAccepted)
    await system.run("porter")
    await system.all_well()
    assert (await system.view("workflows")).stuck == ()


async def test_a_workflow_that_begins_to_fail(system: Monitored) -> None:
    assert await system.run_errands(10, "good") == ["completed"] * 10
    assert await system.run_errands(6, "other") == ["completed"] * 6
    system.aching["back"] = True
    assert await system.run_errands(8, "good") == ["failed"] * 8

    async def told() -> bool:
        return "BackAches (8)" in (await system.problem("workflow_failing", "workflow:good")).what

    await system.until(told)
    view = await system.view("workflows")
    assert view.failing == 1
    assert [(one.workflow_name, one.failing_since is None) for one in view.workflows] == [
        ("good", False),
        ("other", True),
    ]
    assert [one.errors for one in view.recent_failures] == [{"go": "BackAches"}] * 8
    (monitor,) = system.members["monitor"]
    assert (await system.gauges(monitor))["conclave_workflows_failing", ()] == 1
    system.aching["back"] = False
    assert await system.run_errands(12, "good") == ["completed"] * 12

    async def mended() -> bool:
        return not (await system.view("workflows")).failing

    await system.until(mended)
    assert (await system.gauges(monitor))["conclave_workflows_failing", ()] == 0


async def test_an_instance_has_a_queue_of_its_own(system: Monitored) -> None:
    await system.ask(CreateAgent(agent_type="porter", agent_id="joe"))
    assert await system.store.get_agent("joe") is not None

    async def shown() -> Any:
        queues = {one.name: one for one in (await system.view("queues")).queues}
        return queues if "porter.agent.joe" in queues and queues["porter.agent.joe"].consumers == 1 else None

    together = (await system.until(shown))[""]
    assert (together.family, together.queues, together.consumers) == ("porter.agent", 1, 1)


async def test_dead_letters_that_come_in_are_a_problem_until_they_are_settled(system: Monitored) -> None:
    died_at = (await system.health()).at
    letter = DeadLetter(id="letter", reason="contract", body="{}", size=2, died_at=died_at)
    await system.store.put_dead_letter(letter)
    problem = await system.problem("dead_letters_arriving", "dead_letters")
    assert problem.what.startswith("1 message became a dead letter")
    assert (await system.view("queues")).dead_letters.stored == 1
    await system.store.delete_dead_letter("letter")
    await system.all_well()


async def test_a_store_that_is_away_and_comes_back(system: Monitored) -> None:
    async def away(_: str, moment: str) -> None:
        if moment == "before":
            raise StoreUnavailable("nobody answers")

    system.store.hook = away
    problem = await system.problem("store_unavailable", "store")
    assert problem.severity is Severity.CRITICAL
    assert "nobody answers" in problem.what
    assert (await system.view("agents")).fault == "nobody answers"
    # Nobody is ready without it, and it is one problem all the same.
    assert {one.code for one in (await system.health()).problems} == {"store_unavailable"}
    system.store.hook = None
    await system.all_well()


async def test_a_monitor_that_has_just_started_says_so_and_replicas_agree(system: Monitored) -> None:
    await system.run_errands(5)
    await system.stop("monitor")
    late = await system.monitor(settled_after=60.0)
    first = await system.health()
    assert (first.settled, first.problems, first.status) == (False, (), HealthStatus.OK)
    # What ended before it came is in the store.
    assert (await system.until(lambda: counted(system, 5))).windows[0].completed == 5
    other = await system.monitor()
    await system.stop("registry")

    async def both() -> bool:
        key = ("conclave_monitor_problems", labels(severity="error"))
        return [(await system.gauges(one)).get(key) for one in (late, other)] == [1, 1]

    await system.until(both)
    await system.run("registry")
