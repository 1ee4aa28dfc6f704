"""From a delivery to a dead letter, and back to the message."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from contracts import topology
from contracts.envelope import wrap
from contracts.registry import AgentMail, AgentReply
from contracts.topology import Address, Exchange
from services.dead_letters.letters import NoWayBack, correlation_of, letter_of, message_of
from services.runtime.bus import delivering
from services.runtime.bus.base import Frame
from services.runtime.security.signatures import SIGNATURE, Claims, SigningKey, sign


@dataclass(frozen=True)
class Taken:
    """A delivery as far as it is read here."""

    body: bytes = b"{}"
    type: str = "some.message.v1"
    message_id: str = "m1"
    correlation_id: str = "c1"
    reply_to: str = "r1"
    headers: Mapping[str, str] = field(default_factory=dict)
    queue: str = "work"
    routing_key: str = "do.it"
    died_in: str = ""


def buried(
    taken: Taken, reason: str = "contract", detail: str = "no good", exchange: str = "conclave.commands"
) -> Taken:
    """As it comes out of the queue of the dead letters, once a service has moved it there."""
    frame = delivering.dead_letter(taken, exchange, reason, detail)  # type: ignore[arg-type]
    return delivered(frame)


def delivered(frame: Frame) -> Taken:
    return Taken(
        body=frame.body,
        type=frame.type,
        message_id=frame.message_id,
        correlation_id=frame.correlation_id,
        reply_to=frame.reply_to,
        headers=frame.headers,
        queue="dead-letters",
        routing_key=frame.address.key,
    )


def letter(taken: Taken, now: float = 5.0) -> Any:
    return letter_of(taken, now)  # type: ignore[arg-type]


def test_a_letter_tells_the_whole_story() -> None:
    found = letter(buried(Taken(body="ä".encode(), headers={"trace": "t1"})))
    assert (found.reason, found.detail, found.queue) == ("contract", "no good", "work")
    assert (found.exchange, found.routing_key) == ("conclave.commands", "do.it")
    assert (found.message_id, found.type, found.correlation_id, found.reply_to) == ("m1", "some.message.v1", "c1", "r1")
    assert (found.headers, found.body, found.encoded, found.size) == ({"trace": "t1"}, "ä", False, 2)
    assert found.died_at > 1_000_000_000


@pytest.mark.parametrize("said", ["nan", "inf", "-inf", "1e300", "-1", "99999999999999", "9" * 400, "soon", ""])
def test_a_time_that_is_none_is_not_believed(said: str) -> None:
    """One letter with such a time would keep all others from being listed."""
    found = letter(replace(buried(Taken()), headers={delivering.DIED_AT: said}))
    assert found.died_at == 5.0


@pytest.mark.parametrize(
    "headers",
    [
        {"a": "b", SIGNATURE: "s" * 600, "huge": "\N{GRINNING FACE}" * 32_000},
        {"a": "b", SIGNATURE: "s" * 600, **{f"n{i:05}": "" for i in range(20_000)}},
    ],
)
def test_headers_that_fill_a_frame_leave_room_for_the_story(headers: dict[str, str]) -> None:
    frame = delivering.dead_letter(Taken(headers=headers), "conclave.commands", "unsigned", "x" * 9_000)  # type: ignore[arg-type]
    lost = len(headers.keys() - frame.headers.keys())
    assert lost > 0
    assert sum(len(f"{name}{text}".encode()) + 8 for name, text in frame.headers.items()) < 110 * 1024
    detail = frame.headers[delivering.DETAIL]
    assert detail.endswith(f"x ({lost} of its headers had no room here)")
    assert len(detail) == delivering.DETAIL_LIMIT
    own = {name: text for name, text in frame.headers.items() if not name.startswith(delivering.PREFIX)}
    assert own["a"] == "b"
    assert letter(Taken(headers=headers)).headers == own, "also of one that nobody has buried"


def test_its_message_is_what_it_was_and_says_that_it_is_a_replay() -> None:
    found = letter(buried(Taken(headers={"trace": "t1"})))
    again = message_of(found)
    assert again.address == Address(Exchange.COMMANDS, "do.it")
    assert (again.body, again.type, again.message_id, again.correlation_id) == (b"{}", "some.message.v1", "m1", "c1")
    assert again.reply_to == ""
    assert again.headers == {"trace": "t1", delivering.REPLAY_OF: found.id}


@pytest.mark.parametrize("body", [b"\xff\x00\xfe", b"a\x00b", b""])
def test_any_bytes_come_back_as_they_were(body: bytes) -> None:
    found = letter(buried(Taken(body=body)))
    assert message_of(found).body == body
    assert found.size == len(body)
    assert found.encoded is (b"\x00" in body)
    assert "\x00" not in found.body


def test_the_same_burial_is_one_letter_and_every_other_is_another() -> None:
    first = letter(buried(Taken()))
    assert letter(buried(Taken())).id == first.id  # moved twice, since the first time was not confirmed
    replayed = delivered(message_of(first))
    second = letter(buried(Taken(headers=replayed.headers)))
    third = letter(buried(Taken(headers=delivered(message_of(second)).headers)))
    others = [
        letter(buried(Taken(message_id="m2"))),
        letter(buried(Taken(body=b"[]"))),
        letter(buried(Taken(queue="other"))),
        letter(buried(Taken(), reason="refused")),
    ]
    assert len({one.id for one in (first, second, third, *others)}) == 7
    assert second.headers == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"[]"},
        {"message_id": "m2"},
        {"type": "other.v1"},
        {"headers": {"trace": "t2"}},
        {"headers": {}},
        {"headers": {"trace": "t1", delivering.ROUTING_KEY: "somewhere.else"}},
    ],
    ids=str,
)
def test_nothing_takes_a_letters_place_by_naming_its_burial(changes: dict[str, Any]) -> None:
    """Whoever may publish dead letters could otherwise wipe out one that tells of him, or have another replayed."""
    first = buried(Taken(headers={"trace": "t1"}))
    headers = {name: text for name, text in first.headers.items() if name.startswith(delivering.PREFIX)}
    forged = replace(first, **{**changes, "headers": {**headers, "trace": "t1", **changes.get("headers", {})}})
    if changes.get("headers") == {}:
        forged = replace(forged, headers=headers)
    assert letter(forged).id != letter(first).id
    again = replace(first, headers={**first.headers, delivering.DIED_AT: "7.0", delivering.DETAIL: "in other words"})
    assert letter(again).id == letter(first).id


def test_messages_without_an_id_are_letters_each() -> None:
    nameless = Taken(message_id="")
    first, second = buried(nameless), buried(nameless)
    assert letter(first).id != letter(second).id
    assert letter(first).id == letter(first, now=9.0).id


def mail(**fields: Any) -> Taken:
    body = wrap(AgentMail(agent_id="ann", body={}), sender="s").model_dump_json().encode()
    return Taken(**{"body": body, "type": AgentMail.TYPE, "queue": "orchestrator.crashed", **fields})


def test_mail_that_killed_its_reader_goes_back_to_its_agent() -> None:
    dead = mail(routing_key=topology.dead("crashed.clerk").key, died_in="clerk.agent.ann")
    found = letter(buried(dead, "delivery-limit", exchange=Exchange.DEAD.value))
    assert (found.reason, found.queue) == ("delivery-limit", "clerk.agent.ann")
    assert message_of(found).address == topology.agent_mail("ann")


def test_what_the_broker_buried_has_no_story_but_a_message_of_ours_knows_its_address() -> None:
    dead = mail(queue="dead-letters", routing_key="delivery-limit", died_in="clerk.agent.ann")
    found = letter(dead)
    assert (found.reason, found.queue, found.died_at) == ("delivery-limit", "clerk.agent.ann", 5.0)
    assert found.detail == "it exceeded the delivery limit of clerk.agent.ann"
    assert message_of(found).address == topology.agent_mail("ann")
    assert letter(replace(dead, headers={"x": "y"})).id == found.id
    assert letter(replace(dead, headers=message_of(found).headers)).id != found.id


def signature_for(exchange: str, key: str) -> str:
    signing = SigningKey("edge-1", OKPKey.generate_key("Ed25519"), 1)
    return sign(b"encrypted", Claims("m1", 1, f"{exchange}/{key}", "execution.start.v1"), signing)


def test_what_the_broker_buried_goes_to_where_it_was_signed_for() -> None:
    """Whatever the address of such a message, and whether or not it can be read here."""
    dead = Taken(body=b"encrypted", type="execution.start.v1", routing_key="delivery-limit", died_in="work")
    signed = replace(dead, headers={SIGNATURE: signature_for("conclave.commands", "execution.start_now")})
    assert message_of(letter(signed)).address == topology.start_now()
    for exchange in ("conclave.replies", "conclave.dead", "amq.topic", ""):
        with pytest.raises(NoWayBack):
            message_of(letter(replace(dead, headers={SIGNATURE: signature_for(exchange, "k")})))
    with pytest.raises(NoWayBack):
        message_of(letter(replace(dead, headers={SIGNATURE: "no.signature"})))


def reply() -> bytes:
    return wrap(AgentReply(agent_id="ann"), sender="s").model_dump_json().encode()


@pytest.mark.parametrize(
    "taken",
    [
        Taken(routing_key="delivery-limit", died_in="work"),
        Taken(type=AgentMail.TYPE, body=b"\xff", routing_key="delivery-limit"),
        Taken(type=AgentReply.TYPE, body=reply(), routing_key="delivery-limit"),
        Taken(headers={delivering.EXCHANGE: "amq.topic", delivering.ROUTING_KEY: "k"}),
        Taken(headers={delivering.EXCHANGE: "", delivering.ROUTING_KEY: "reply.queue"}),
    ],
)
def test_a_message_whose_way_is_not_known_has_no_way_back(taken: Taken) -> None:
    found = letter(taken)
    assert (found.exchange, found.routing_key) == ("", "")
    with pytest.raises(NoWayBack, match="not known"):
        message_of(found)


def test_nothing_in_a_foreign_message_is_relied_upon() -> None:
    found = letter(
        Taken(
            body=b"",
            type="t" * 1_000,
            message_id="a\x00\udc80",
            headers={"k\x00": "\x00", delivering.DIED_AT: "soon", delivering.REASON: "r" * 1_000},
            routing_key="contract",
        )
    )
    assert (len(found.type), len(found.reason), found.died_at) == (250, 250, 5.0)
    assert found.message_id == "a\N{REPLACEMENT CHARACTER}?"
    assert found.headers == {"k\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}"}
    found.model_dump_json()
    bare = letter(Taken(type="", message_id="", correlation_id="", reply_to="", routing_key="refused"))
    assert (bare.reason, bare.detail, bare.queue, bare.type) == ("refused", "", "", "")


def test_the_story_of_an_earlier_death_is_not_told_again() -> None:
    first = buried(Taken(died_in="work"), "delivery-limit")
    assert first.headers[delivering.DIED_IN] == "work"
    again = buried(Taken(headers=first.headers, queue="other"), "refused")
    assert delivering.DIED_IN not in again.headers
    assert letter(again).queue == "other"


@pytest.mark.parametrize(
    ("correlation_id", "body", "expected"),
    [
        ("c1", b'{"correlation_id": "c2"}', "c1"),
        ("", b'{"correlation_id": "c2", "id": "m2", "more": [1]}', "c2"),
        ("", b'{"correlation_id": "", "id": "m2"}', "m2"),
        ("", b'{"correlation_id": 5}', "m1"),
        ("", b"no JSON", "m1"),
        ("", b"\xff", "m1"),
        ("c1", b"\xff", "c1"),
    ],
)
def test_which_request_a_letter_belongs_to(correlation_id: str, body: bytes, expected: str) -> None:
    letter = letter_of(Taken(body=body, correlation_id=correlation_id), 5.0)  # type: ignore[arg-type]
    assert correlation_of(letter) == expected
