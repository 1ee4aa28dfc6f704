"""Needs as RabbitMQ's permissions: whole names and keys, and nothing beside them."""

import re

from contracts import topology
from contracts.topology import Address, Exchange, Queue
from services.runtime.bus.rabbit_permissions import (
    AGENT_ID,
    AGENT_TYPE,
    HEX,
    NOTHING,
    REST,
    WORD,
    Needs,
    pattern,
    permissions_of,
)


def matches(expression: str, *texts: str) -> list[str]:
    return [text for text in texts if re.search(expression, text)]


def test_a_pattern_matches_whole_texts_only() -> None:
    expression = pattern(["a.b", f"c.{WORD}", f"d.{HEX}", "e.*", f"f.{REST}"])
    hit = ["a.b", "c.x", "d.0af", "e.*", "f.x.y"]
    missed = ["c.*", "c.#", "f.#", "f.x.*", "a.b.c", "xa.b", "aXb", "c.x.y", "c.", "d.xyz", "e.x", "f.", ""]
    assert matches(expression, *hit, *missed) == hit


def test_no_text_is_no_match() -> None:
    assert pattern([]) == NOTHING
    assert matches(pattern([]), "a", "amq.default") == []


def test_an_agents_queue_is_not_what_a_type_or_quarantine_has() -> None:
    queue = topology.agent_queue(AGENT_TYPE, AGENT_ID)
    expression = pattern(binding.key for binding in queue.bindings)
    mine = [binding.key for binding in topology.agent_queue("data_agent", "clerk").bindings]
    others = [binding.key for binding in topology.agent_type_queue("data_agent").bindings[:1]]
    others += [binding.key for binding in topology.agent_quarantine_queue("data_agent").bindings]
    assert matches(expression, *mine, *others, "#", "*.*.*", "*.clerk.*", "mail.*", "mail.#") == mine


def test_who_needs_nothing_may_nothing() -> None:
    found = permissions_of(Needs())
    assert (found.configure, found.write, found.read) == (NOTHING, NOTHING, NOTHING)
    topics = {exchange: (topic.write, topic.read) for exchange, topic in found.topics.items()}
    assert topics == dict.fromkeys(Exchange, (NOTHING, NOTHING))


def test_publishing_taking_and_owning_are_told_apart() -> None:
    found = permissions_of(
        Needs(
            publishes=(topology.command("execution.start"),),
            takes=(topology.registry_queue(),),
            owns=(topology.reply_queue("reply.me"),),
        )
    )
    assert matches(found.configure, "reply.me", "registry", "conclave.commands") == ["reply.me"]
    assert matches(found.write, "reply.me", "registry", "conclave.commands", "conclave.replies") == [
        "reply.me",
        "conclave.commands",
    ]
    assert matches(found.read, "reply.me", "registry", "conclave.commands", "conclave.replies") == [
        "reply.me",
        "registry",
        "conclave.replies",
    ]
    assert found.topics[Exchange.COMMANDS].write == r"^(execution\.start)$"
    assert found.topics[Exchange.REPLIES].read == r"^(reply\.me)$"


def test_who_makes_a_queue_with_dead_letters_may_write_where_they_go() -> None:
    lasting = Queue("mine", (Address(Exchange.AGENTS, "x"),))
    assert matches(permissions_of(Needs(owns=(lasting,))).write, "conclave.dead", "conclave.agents") == [
        "conclave.dead"
    ]
