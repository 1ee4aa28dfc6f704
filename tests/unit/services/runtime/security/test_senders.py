"""Who may send what: every message type by every kind of signer, and what is said in it against who says it."""

from typing import Any

import pytest

from contracts.agents import AgentDescriptor
from contracts.catalog import MESSAGES
from contracts.envelope import Message, envelope_of, wrap
from contracts.execution import (
    CancelExecution,
    DescribeExecution,
    StartExecution,
    StepProgress,
    StepResult,
    StepResults,
    StepsProgressed,
)
from contracts.hosts import AgentReleased, AgentTaken, HostAnnounced, HostHeartbeat, HostStopped
from contracts.registry import AgentMail, AgentReply, BroadcastMail, CreateAgent, DeleteAgent, FindAgents
from services.runtime.envelope_codec import UnreadableMessage, decode
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.security.senders import SENDERS, ForbiddenSender, check_sender, may_send_to

HOST = "data_agent-0123abcd"


def service(name: str) -> Principal:
    return Principal(name, SenderKind.SERVICE, "k")


def host(name: str = "data_agent", *types: str, start: bool = False, message: tuple[str, ...] = ()) -> Principal:
    return Principal(name, SenderKind.AGENT, "k", frozenset(types or (name,)), start, frozenset(message))


EDGE, ORCHESTRATOR, REGISTRY = service("edge"), service("orchestrator"), service("registry")
DEAD_LETTERS, ACCESS, AUDITOR = service("dead_letters"), service("access"), service("auditor")
MONITOR = service("monitor")
DATA = host()
COORDINATOR = host("coordinator_agent", start=True, message=("*",))
CLIENT = Principal("shop", SenderKind.CLIENT, "k")
EVERYBODY = {
    "edge": EDGE,
    "orchestrator": ORCHESTRATOR,
    "registry": REGISTRY,
    "dead_letters": DEAD_LETTERS,
    "access": ACCESS,
    "auditor": AUDITOR,
    "monitor": MONITOR,
    "an agent host": DATA,
    "a client": CLIENT,
    "a service of no such name": service("an agent host"),
}

# By hand, and not from the table: who may send it at all.
ONLY: dict[str, set[str]] = {
    "execution.start.v1": {"edge", "a client", "an agent host"},
    "execution.cancel.v1": {"edge", "a client", "an agent host"},
    "execution.describe.v1": {"edge", "an agent host"},
    "execution.accepted.v1": {"orchestrator"},
    "execution.cancel_accepted.v1": {"orchestrator"},
    "execution.described.v1": {"orchestrator"},
    "execution.advanced.v1": {"orchestrator"},
    "execution.completed.v1": {"orchestrator"},
    "execution.failed.v1": {"orchestrator"},
    "execution.cancelled.v1": {"orchestrator"},
    "execution.wake.v1": {"orchestrator"},
    "step.run.v1": {"orchestrator"},
    "step.cancelled.v1": {"orchestrator"},
    "step.results.v1": {"an agent host", "registry"},
    "step.progress.v1": {"an agent host"},
    "workflow.create.v1": {"edge"},
    "workflow.delete.v1": {"edge"},
    "workflow.created.v1": {"orchestrator"},
    "workflow.deleted.v1": {"orchestrator"},
    "host.announced.v1": {"an agent host"},
    "host.heartbeat.v1": {"an agent host"},
    "host.stopped.v1": {"an agent host"},
    "host.agent_taken.v1": {"an agent host"},
    "host.agent_released.v1": {"an agent host"},
    "host.assignment.v1": {"registry"},
    "agent.create.v1": {"edge", "an agent host"},
    "agent.delete.v1": {"edge"},
    "agent.find.v1": {"edge", "an agent host"},
    "agent.created.v1": {"registry"},
    "agent.deleted.v1": {"registry"},
    "agent.found.v1": {"registry"},
    "agent.sweep.v1": {"registry"},
    "agent.mail.v1": {"edge", "registry", "an agent host"},
    "agent.reply.v1": {"an agent host", "registry"},
    "agent.broadcast.v1": {"edge", "an agent host"},
    "agent.broadcast_sent.v1": {"registry"},
    "dead_letter.replay.v1": {"edge"},
    "dead_letter.discard.v1": {"edge"},
    "dead_letter.settled.v1": {"dead_letters"},
    "api_key.create.v1": {"edge"},
    "api_key.rotate.v1": {"edge"},
    "api_key.revoke.v1": {"edge"},
    "api_key.stored.v1": {"access"},
    "audit.access.v1": {"edge"},
    "process.reported.v1": {
        *("edge", "orchestrator", "registry", "dead_letters", "access", "auditor", "monitor", "an agent host")
    },
    "monitoring.describe.v1": {"edge"},
    "monitoring.described.v1": {"monitor"},
    "command.refused.v1": {"orchestrator", "registry", "dead_letters", "access", "monitor"},
}


def check(signer: Principal, message: Message, *, sender: str | None = None, **fields: Any) -> None:
    said = f"{signer.name}-0123abcd" if signer.kind is SenderKind.AGENT else signer.name
    check_sender(signer, wrap(message, sender=said if sender is None else sender, **fields))


def refused(signer: Principal, message: Message, because: str, **fields: Any) -> None:
    with pytest.raises(ForbiddenSender) as caught:
        check(signer, message, **fields)
    assert str(signer) in caught.value.detail
    assert message.TYPE in caught.value.detail
    assert because in caught.value.detail


# ---- the table


def test_every_message_type_stands_in_the_table_and_nothing_else() -> None:
    assert set(SENDERS) == set(MESSAGES.values())
    assert all(SENDERS.values()), "a row with nobody in it"
    assert set(ONLY) == set(MESSAGES)


@pytest.mark.parametrize("kind", sorted(MESSAGES))
@pytest.mark.parametrize("who", EVERYBODY)
def test_a_forged_row_is_refused(kind: str, who: str) -> None:
    """A message with nothing in it, so that only who sends it can be the reason."""
    message_class = MESSAGES[kind]
    message = message_class.model_construct()
    signer = EVERYBODY[who]
    said = HOST if signer.kind is SenderKind.AGENT else signer.name
    envelope = envelope_of(message_class).model_construct(sender=said, actor="", retry_count=0, payload=message)
    allowed = who in ONLY[kind]
    assert (who in SENDERS[message_class]) == allowed
    if not allowed:
        with pytest.raises(ForbiddenSender, match=r"only .* may"):
            check_sender(signer, envelope)


def test_a_type_that_is_not_in_the_table_is_refused_from_everybody() -> None:
    class New(Message):
        TYPE = "new.v1"

    for signer in EVERYBODY.values():
        refused(signer, New(), "nobody may")


# ---- executions


def start(**fields: Any) -> StartExecution:
    return StartExecution(**{"execution_id": "e1", "workflow_id": "w", "client": "shop", **fields})


def test_a_client_starts_in_its_own_name_and_cancels_and_no_more() -> None:
    check(CLIENT, start())
    check(CLIENT, CancelExecution(execution_id="e1"))
    refused(CLIENT, start(client="alice"), "starts in the name of 'alice'")
    refused(CLIENT, start(client=""), "not in its own")
    refused(CLIENT, DescribeExecution(execution_id="e1"), "only an agent host and edge may")
    refused(CLIENT, AgentMail(agent_id="a", body={}), "only")
    refused(CLIENT, FindAgents(), "only")


def test_an_agent_starts_what_it_delegates_if_the_policy_lets_it() -> None:
    mine = {"execution_id": "delegate-1-ab", "client": "delegate:1:e1"}
    check(COORDINATOR, start(**mine))
    check(COORDINATOR, CancelExecution(execution_id="delegate-1-ab"))
    check(COORDINATOR, DescribeExecution(execution_id="delegate-1-ab"))
    refused(DATA, start(**mine), "does not let it start workflows")
    refused(DATA, CancelExecution(execution_id="delegate-1-ab"), "does not let it start")
    refused(DATA, DescribeExecution(execution_id="delegate-1-ab"), "does not let it start")


def test_an_agent_does_nothing_to_the_executions_of_others() -> None:
    refused(COORDINATOR, start(execution_id="delegate-1-ab", client="key:alice"), "'key:alice'")
    refused(COORDINATOR, start(execution_id="exec-1", client="delegate:1:e1"), "'exec-1'")
    refused(COORDINATOR, CancelExecution(execution_id="exec-1"), "'exec-1'")
    refused(COORDINATOR, DescribeExecution(execution_id="exec-1"), "'exec-1'")


# ---- steps


def results(agent_type: str, *, ok: bool = True) -> StepResults:
    result = StepResult(result_id="r", execution_id="e", step="s", attempt=1, ok=ok)
    return StepResults(reply_key="shard.0", agent_type=agent_type, results=(result,))


def progress(agent_type: str) -> StepsProgressed:
    report = StepProgress(execution_id="e", step="s", attempt=1, run_id="r", number=1, fraction=0.5, at=1.0)
    return StepsProgressed(reply_key="shard.0", agent_type=agent_type, reports=(report,))


@pytest.mark.parametrize("of", [results, progress])
def test_an_agent_answers_for_its_own_types_only(of: Any) -> None:
    check(DATA, of("data_agent"))
    check(host("plugin_agent", "tamer", "baker"), of("baker"))
    check(host("plugin_agent", "*"), of("anything"))
    refused(DATA, of("decision_agent"), "does not answer for agent type 'decision_agent'")
    refused(host("plugin_agent", "tamer"), of("plugin_agent"), "'plugin_agent'")
    refused(DATA, of(""), "''")
    refused(host("plugin_agent", "*"), of(""), "''")
    refused(CLIENT, of("data_agent"), "only")
    refused(ORCHESTRATOR, of("data_agent"), "only")


def test_the_registry_says_only_that_steps_failed() -> None:
    check(REGISTRY, results("data_agent", ok=False))
    refused(REGISTRY, results("data_agent"), "performs no steps")


# ---- hosts


def announced(host_id: str = HOST, service: str = "data_agent", *types: str) -> HostAnnounced:
    descriptors = tuple(AgentDescriptor(agent_type=one) for one in types or ("data_agent",))
    return HostAnnounced(host_id=host_id, service=service, descriptors=descriptors, heartbeat_seconds=5)


def test_a_host_announces_itself_and_its_own_types() -> None:
    check(DATA, announced())
    refused(DATA, announced(HOST, "data_agent", "data_agent", "decision_agent"), "'decision_agent'")
    refused(DATA, announced("decision_agent-0123abcd"), "is not host 'decision_agent-0123abcd'")
    refused(DATA, announced(HOST, "decision_agent"), "of service 'decision_agent'")


@pytest.mark.parametrize(
    "host_id",
    [
        "data_agent",
        "data_agent-",
        "data_agent-0123ABCD",
        "data_agent-0123abcde",
        "data_agents-0123abcd",
        "x-0123abcd",
        "",
    ],
)
def test_a_host_speaks_for_no_other(host_id: str) -> None:
    for message in (
        HostHeartbeat(host_id=host_id),
        HostStopped(host_id=host_id),
        AgentTaken(host_id=host_id, agent_id="a", ok=True),
        AgentReleased(host_id=host_id, agent_id="a"),
    ):
        refused(DATA, message, "is not host")
        check(DATA, message.model_copy(update={"host_id": HOST}))


# ---- agents and their messages


def test_a_host_creates_agents_of_its_own_types_only_and_deletes_none() -> None:
    check(DATA, CreateAgent(agent_type="data_agent", agent_id="d1"))
    refused(DATA, CreateAgent(agent_type="decision_agent"), "'decision_agent'")
    refused(DATA, DeleteAgent(agent_id="d1"), "only edge may")


def test_who_may_message_nobody_sends_no_mail_and_looks_for_nobody() -> None:
    for message in (AgentMail(agent_id="a", body={}), BroadcastMail(body={}), FindAgents()):
        check(COORDINATOR, message)
        refused(DATA, message, "does not let it message anyone")


def test_mail_that_is_tried_again_is_its_receivers_to_judge() -> None:
    mail = AgentMail(agent_id="data_agent", body={})
    check(DATA, mail, sender="edge", retry_count=1)
    refused(DATA, mail, "'edge'", sender="edge")
    refused(CLIENT, mail, "only", retry_count=1)


def test_the_registry_answers_for_agents_only_that_they_are_gone() -> None:
    check(REGISTRY, AgentReply(agent_id="a", error="deleted", code="AgentRemoved"))
    refused(REGISTRY, AgentReply(agent_id="a", body={"yes": True}), "answers for no agent")


def test_whom_a_signer_may_send_to() -> None:
    assert may_send_to(EDGE, "ann", "clerk")
    assert may_send_to(host("x", message=("clerk",)), "ann", "clerk")
    assert not may_send_to(DATA, "ann", "clerk")
    assert not may_send_to(host("x", message=("baker",)), "ann", "clerk")


# ---- what an envelope says of its sender


@pytest.mark.parametrize(
    "sender", ["orchestrator", "decision_agent-0123abcd", "data_agent", "data_agent-0123abcd-x", ""]
)
def test_an_agents_envelope_names_a_host_of_its_own(sender: str) -> None:
    refused(DATA, results("data_agent"), "sender is said to be", sender=sender)


def test_services_and_clients_have_their_own_name_on_the_envelope() -> None:
    refused(EDGE, start(), "'orchestrator'", sender="orchestrator")
    refused(CLIENT, start(), "'edge'", sender="edge")


def test_nobody_but_the_services_says_on_whose_behalf() -> None:
    check(EDGE, start(), actor="key:alice")
    check(DATA, AgentReply(agent_id="a", body={}), actor="key:alice")
    refused(CLIENT, start(), "on behalf of 'key:alice'", actor="key:alice")
    refused(DATA, results("data_agent"), "on behalf of", actor="key:alice")


# ---- where it is asked


class Letter:
    type = StepResults.TYPE
    queue = "q"

    def __init__(self, signer: Principal | None, message_id: str = "m1") -> None:
        self.body = wrap(results("data_agent"), sender=HOST, message_id="m1").model_dump_json().encode()
        self.signer = signer
        self.message_id = message_id


def test_a_delivery_is_read_only_if_its_signer_may_have_sent_it() -> None:
    accepts = {StepResults.TYPE: StepResults}
    for signer in (DATA, None):
        assert decode(Letter(signer), accepts).payload.agent_type == "data_agent"  # type: ignore[arg-type, attr-defined]
    with pytest.raises(UnreadableMessage) as caught:
        decode(Letter(host("decision_agent")), accepts)  # type: ignore[arg-type]
    assert caught.value.reason == "forbidden-sender"
    assert "agent decision_agent may not send this step.results.v1" in caught.value.detail


@pytest.mark.parametrize(("message_id", "fits"), [("m1", True), ("", True), ("m2", False)])
def test_the_id_beside_a_message_is_the_one_in_it(message_id: str, fits: bool) -> None:
    letter: Any = Letter(None, message_id)
    if fits:
        assert decode(letter, {StepResults.TYPE: StepResults}).id == "m1"
    else:
        with pytest.raises(UnreadableMessage) as caught:
            decode(letter, {StepResults.TYPE: StepResults})
        assert caught.value.reason == "contract"
