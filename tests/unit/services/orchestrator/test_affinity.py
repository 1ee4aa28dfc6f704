"""Where results are asked for."""

from typing import Any

from contracts.envelope import wrap
from contracts.execution import StepResults
from contracts.topology import shard_key
from services.orchestrator.admission import Admission, Known
from services.orchestrator.affinity import Affinity
from services.orchestrator.intake import Intake
from services.orchestrator.outgoing import BatchSizes
from services.runtime.service import Received
from tests.support.committing import Desk, NotingDelivery


def test_before_anything_is_heard_each_execution_has_the_shard_of_its_hash() -> None:
    affinity = Affinity()
    ids = [f"e{i}" for i in range(50)]
    assert [affinity.reply_key(one) for one in ids] == [shard_key(one) for one in ids]
    assert len({affinity.reply_key(one) for one in ids}) > 1


def test_afterwards_all_have_the_shard_that_has_been_heard_from_for_longest() -> None:
    affinity = Affinity()
    affinity.heard_from("shard.3")
    affinity.heard_from("shard.1")
    assert {affinity.reply_key(f"e{i}") for i in range(50)} == {"shard.3"}
    affinity.left("shard.3")
    assert {affinity.reply_key(f"e{i}") for i in range(50)} == {"shard.1"}


async def test_hosts_cannot_say_where_everybodys_results_are_sent() -> None:
    """What counts is the queue that the message came from, and not the shard that it names: results asked for at an
    address of a liar's would reach nobody, and commands with one that is no address could not be made at all."""
    desk, affinity = Desk(), Affinity()
    mailbox = desk.committer.mailbox
    parts: Any = (None, None, BatchSizes(), Admission(desk.store, mailbox, 10), Known(desk.store), affinity)
    intake = Intake(mailbox, *parts)
    delivery: Any = NotingDelivery()
    delivery.body, delivery.routing_key = b"{}", "shard.2"
    for lie in ("shard.nowhere", "no key at all", ""):
        message = StepResults(reply_key=lie, agent_type="liar", results=())
        await intake.results(Received(wrap(message, sender="liar-00000000"), delivery))
        assert affinity.reply_key("e") == "shard.2"
