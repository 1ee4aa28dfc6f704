"""Every way in which a signed message may be something else than it says."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from contracts import topology
from services.runtime.bus.base import Frame
from services.runtime.security import key_ring
from services.runtime.security.key_files import read_public, trusted_path, write_public
from services.runtime.security.policy import AgentPolicy
from services.runtime.security.principal import SenderKind
from services.runtime.security.replays import Replays
from services.runtime.security.signatures import CLAIMS, ENDORSEMENT, SIGNATURE, read
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.security.trusted_keys import TrustedKeys
from services.runtime.security.verifying import AHEAD, TOGETHER, Refused, Verifier, endorsement_of, signature_headers
from tests.support.signing import NOW, add_key

MAX_AGE, WINDOW = 3_600.0, 300.0
STEP = topology.agent_work("data_agent", None, "query")


@dataclass
class Came:
    """A delivery, as far as it is looked at."""

    body: bytes
    type: str
    message_id: str
    correlation_id: str
    reply_to: str
    headers: dict[str, str]
    exchange: str
    routing_key: str
    queue: str = "data_agent"
    redeliveries: int = 0
    died_in: str = ""


@dataclass
class Desk:
    """Who signs and who verifies, with a clock between them."""

    folder: Path
    now: float = NOW
    required: bool = True
    verifier: Verifier = field(init=False)

    def __post_init__(self) -> None:
        for name in ("orchestrator", "dead_letters", "registry"):
            add_key(self.folder, name)
        add_key(self.folder, "shop", SenderKind.CLIENT)
        self.verifier = Verifier(
            TrustedKeys(self.folder, AgentPolicy()),
            Replays(WINDOW, MAX_AGE),
            MAX_AGE,
            self.required,
            clock=lambda: self.now,
        )

    def key(self, name: str) -> Any:
        return SigningKeys(self.folder, name).current

    def frame(self, **fields: Any) -> Frame:
        return Frame(**{"address": STEP, "body": b'{"id": "m"}', "type": "step.run.v1", "message_id": "m", **fields})

    def sent(self, name: str = "orchestrator", **fields: Any) -> Frame:
        frame = self.frame(**fields)
        return replace(frame, headers={**frame.headers, **signature_headers([frame], self.key(name), self.now)[0]})

    def endorsed(self, frame: Frame, name: str = "dead_letters", **fields: Any) -> Frame:
        endorsement = endorsement_of(replace(frame, **fields), self.key(name), self.now)
        return replace(frame, headers={**frame.headers, ENDORSEMENT: endorsement})

    def judge(self, came: Came, *, copy: bool = False) -> str:
        """Who sent it, or why it is refused."""
        try:
            return str(self.verifier.verify(came, copy=copy))  # type: ignore[arg-type]
        except Refused as refused:
            return refused.reason


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def came(frame: Frame, **changes: Any) -> Came:
    delivery = Came(
        body=frame.body,
        type=frame.type,
        message_id=frame.message_id,
        correlation_id=frame.correlation_id,
        reply_to=frame.reply_to,
        headers=dict(frame.headers),
        exchange=frame.address.exchange.value,
        routing_key=frame.address.key,
    )
    return replace(delivery, **changes)


def test_what_came_as_it_was_signed_is_its_signers(desk: Desk) -> None:
    assert desk.judge(came(desk.sent(reply_to="r", correlation_id="c"))) == "service orchestrator"
    assert desk.judge(came(desk.sent("shop"))) == "client shop"


def test_unsigned_is_refused_where_a_signature_is_required_and_taken_where_not(desk: Desk, tmp_path: Path) -> None:
    assert desk.judge(came(desk.frame())) == "unsigned"
    relaxed = Desk(tmp_path / "relaxed", required=False)
    assert relaxed.judge(came(relaxed.frame())) == "None"
    assert relaxed.judge(came(relaxed.sent(), body=b"altered")) == "bad-signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b'{"id": "n"}'},
        {"body": b""},
        {"type": "step.results.v1"},
        {"type": ""},
        {"message_id": "n"},
        {"correlation_id": "other"},
        {"correlation_id": ""},
        {"reply_to": "reply.of.the.attacker"},
        {"reply_to": ""},
        {"routing_key": "data_agent.any.profile"},
        {"exchange": "conclave.commands"},
        {"headers": {SIGNATURE: "no.signature"}},
        {"headers": {SIGNATURE: ""}},
        {"headers": {SIGNATURE: []}},
        {"headers": {SIGNATURE: {"a": 1}}},
    ],
    ids=str,
)
def test_altered(desk: Desk, changes: dict[str, Any]) -> None:
    frame = desk.sent(reply_to="reply.of.the.asker", correlation_id="c")
    assert desk.judge(came(frame, **changes)) == "bad-signature"


def test_another_keys_signature_under_a_trusted_keys_name(desk: Desk) -> None:
    forged = desk.key("shop")
    forged_key = type(forged)(desk.key("orchestrator").key_id, forged.key, 1)
    frame = desk.frame()
    frame = replace(frame, headers=signature_headers([frame], forged_key, desk.now)[0])
    assert desk.judge(came(frame)) == "bad-signature"


def test_unknown_retired_and_expired_keys(desk: Desk, tmp_path: Path) -> None:
    stranger = Desk(tmp_path / "elsewhere")
    assert desk.judge(came(stranger.sent())) == "unknown-key"

    frame = desk.sent("registry")
    assert desk.judge(came(frame)) == "service registry"
    with key_ring.opened(desk.folder, NOW) as ring:
        old = ring.of("registry")[0]
        ring.rotate("registry", overlap=600, after=0)
    desk.verifier.keys._keys.look()
    assert desk.judge(came(frame)) == "service registry"
    assert desk.judge(came(desk.sent("registry"))) == "service registry"
    desk.now += 601
    assert desk.judge(came(frame)) == "unknown-key"
    assert desk.judge(came(desk.sent("registry"))) == "service registry"
    with key_ring.opened(desk.folder, NOW) as ring:
        ring.retire(ring.signing("registry"))
        assert old.kid != ring.signing("registry")


@pytest.mark.parametrize(
    ("later", "outcome"),
    [
        (0, "service orchestrator"),
        (MAX_AGE, "service orchestrator"),
        (MAX_AGE + 1, "expired"),
        (-AHEAD, "service orchestrator"),
        (-AHEAD - 1, "expired"),
    ],
)
def test_too_old_and_from_the_future(desk: Desk, later: float, outcome: str) -> None:
    frame = desk.sent()
    desk.now += later
    assert desk.judge(came(frame)) == outcome


def test_a_replay(desk: Desk) -> None:
    frame = desk.sent()
    for later, changes, outcome in (
        (0, {}, "service orchestrator"),
        (WINDOW, {}, "service orchestrator"),
        (1, {"redeliveries": 1}, "service orchestrator"),
        (0, {"queue": "another"}, "service orchestrator"),
        (0, {}, "replayed"),
    ):
        desk.now += later
        assert desk.judge(came(frame, **changes)) == outcome
    # Its sender may say it again, under the same id: only he can sign it anew.
    assert desk.judge(came(desk.sent())) == "service orchestrator"


def test_what_the_broker_itself_moved_is_taken_where_it_may_come_from(desk: Desk) -> None:
    crashed = {"exchange": "conclave.dead", "routing_key": "crashed.data_agent", "died_in": "data_agent"}
    frame = desk.sent()
    assert desk.judge(came(frame, **crashed)) == "service orchestrator"
    mail = desk.sent("registry", address=topology.agent_mail("clerk-1"))
    assert desk.judge(came(mail, **crashed)) == "service registry"
    assert desk.judge(came(frame, **{**crashed, "died_in": ""})) == "bad-signature"
    assert desk.judge(came(frame, **{**crashed, "routing_key": "crashed.decision_agent"})) == "bad-signature"
    assert desk.judge(came(frame, **{**crashed, "exchange": "conclave.events"})) == "bad-signature"
    start = desk.sent(address=topology.command("execution.start"))
    assert desk.judge(came(start, **crashed)) == "bad-signature"


def test_a_copy_is_judged_by_its_signature_and_not_by_its_age(desk: Desk) -> None:
    frame = desk.sent()
    desk.now += 10 * MAX_AGE
    assert desk.judge(came(frame), copy=True) == "service orchestrator"
    assert desk.judge(came(frame), copy=True) == "service orchestrator"
    dead = {"exchange": "conclave.dead", "routing_key": "refused"}
    assert desk.judge(came(frame, **dead), copy=True) == "service orchestrator"
    assert desk.judge(came(frame, routing_key="data_agent.any.profile"), copy=True) == "bad-signature"
    assert desk.judge(came(frame, body=b"altered", **dead), copy=True) == "bad-signature"
    assert desk.judge(came(desk.frame()), copy=True) == "unsigned"


# ---- dead letters that come again


def test_an_endorsement_stands_for_the_first_signatures_age_and_nothing_else(desk: Desk) -> None:
    frame = desk.sent(reply_to="reply.of.one.that.is.gone")
    assert desk.judge(came(frame)) == "service orchestrator"
    desk.now += 10 * MAX_AGE
    again = replace(frame, reply_to="")
    assert desk.judge(came(again)) == "bad-signature"  # without it, not even that it asks for no answer any more
    endorsed = desk.endorsed(again)
    assert desk.judge(came(endorsed)) == "service orchestrator"
    for changes in (
        {"body": b"altered"},
        {"message_id": "other"},
        {"type": "step.results.v1"},
        {"routing_key": "data_agent.any.profile"},
        {"reply_to": "reply.of.the.attacker"},
        {"correlation_id": "x"},
    ):
        assert desk.judge(came(endorsed, **changes)) == "bad-signature", changes


def test_an_endorsement_has_an_age_and_comes_once(desk: Desk) -> None:
    endorsed = desk.endorsed(desk.sent())
    assert desk.judge(came(endorsed)) == "service orchestrator"
    desk.now += WINDOW + 1
    assert desk.judge(came(endorsed)) == "replayed"
    desk.now += MAX_AGE
    assert desk.judge(came(endorsed)) == "expired"


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        (lambda desk, frame: desk.endorsed(frame, "registry"), "forbidden-sender"),
        (lambda desk, frame: desk.endorsed(frame, "shop"), "forbidden-sender"),
        (lambda desk, frame: desk.endorsed(frame, message_id="other"), "bad-signature"),
        (lambda desk, frame: desk.endorsed(frame, address=topology.agent_mail("x")), "bad-signature"),
        (lambda desk, frame: desk.endorsed(frame, body=b"other"), "bad-signature"),
        (
            lambda desk, frame: replace(frame, headers={**frame.headers, ENDORSEMENT: frame.headers[SIGNATURE]}),
            "bad-signature",
        ),
        (lambda desk, frame: replace(frame, headers={**frame.headers, ENDORSEMENT: "e30..x"}), "bad-signature"),
    ],
)
def test_what_endorses_nothing(desk: Desk, make: Callable[[Desk, Frame], Frame], outcome: str) -> None:
    frame = desk.sent()
    desk.now += 2 * MAX_AGE
    assert desk.judge(came(frame)) == "expired"
    assert desk.judge(came(make(desk, frame))) == outcome


def test_an_endorsement_is_no_signature(desk: Desk) -> None:
    frame = desk.endorsed(desk.frame())
    assert desk.judge(came(frame)) == "unsigned"
    stolen = {SIGNATURE: frame.headers[ENDORSEMENT]}
    assert desk.judge(came(frame, headers=stolen)) == "bad-signature"


def test_a_letter_of_a_retired_key_stays_dead(desk: Desk) -> None:
    frame = desk.sent("registry")
    with key_ring.opened(desk.folder, NOW) as ring:
        ring.retire(ring.signing("registry"))
    desk.verifier.keys._keys.look()
    assert desk.judge(came(desk.endorsed(frame))) == "unknown-key"


# ---- several messages under one signature


def together(desk: Desk, count: int, name: str = "orchestrator") -> list[Frame]:
    frames = [desk.frame(message_id=f"m{n}", body=b"%d" % n) for n in range(count)]
    headers = signature_headers(frames, desk.key(name), desk.now)
    return [replace(frame, headers=own) for frame, own in zip(frames, headers, strict=True)]


def test_messages_that_are_sent_together_share_signatures_and_each_is_taken(desk: Desk) -> None:
    frames = together(desk, 2 * TOGETHER + 3)
    assert len({frame.headers[SIGNATURE] for frame in frames}) == 3
    assert [desk.judge(came(frame)) for frame in frames] == ["service orchestrator"] * len(frames)
    assert len(desk.verifier._shared) == 3


@pytest.mark.parametrize("first", [False, True], ids=["verified-before", "the-first-that-comes"])
@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"other"},
        {"body": b"1"},
        {"message_id": "m1"},
        {"type": "step.results.v1"},
        {"reply_to": "reply.of.the.attacker"},
        {"routing_key": "data_agent.any.profile"},
    ],
    ids=str,
)
def test_one_of_several_is_altered(desk: Desk, changes: dict[str, Any], first: bool) -> None:
    frames = together(desk, 3)
    if not first:
        assert desk.judge(came(frames[2])) == "service orchestrator"
    assert desk.judge(came(frames[0], **changes)) == "bad-signature"
    assert desk.judge(came(frames[0])) == "service orchestrator"


def test_another_ones_claims_are_no_ones_own(desk: Desk) -> None:
    one, two, three = together(desk, 3)
    assert desk.judge(came(one)) == "service orchestrator"
    swapped = {**two.headers, CLAIMS: three.headers[CLAIMS]}
    assert desk.judge(came(two, headers=swapped)) == "bad-signature"
    assert desk.judge(came(two, headers={**swapped}, message_id="m2")) == "bad-signature"
    # All that is another's, which is that message.
    assert desk.judge(came(two, headers=swapped, message_id="m2", body=b"2")) == "service orchestrator"
    for own in (None, "", "{", "[]", "\ud800", '{"jti":"m1"}', "x" * 9_000, 7):
        headers = {SIGNATURE: two.headers[SIGNATURE]} | ({} if own is None else {CLAIMS: own})
        assert desk.judge(came(two, headers=headers)) == "bad-signature", own


def test_where_claims_end_and_a_body_begins_is_plain(desk: Desk) -> None:
    frame = desk.frame(body=b'{}.{"x": 1}')
    one, _ = signature_headers([frame, desk.frame()], desk.key("orchestrator"), desk.now)
    longer = {**one, CLAIMS: one[CLAIMS] + ".{}"}
    assert desk.judge(came(frame, headers=longer, body=b'{"x": 1}')) == "bad-signature"


def test_a_shared_signature_of_nobody_and_of_a_key_that_is_gone(desk: Desk) -> None:
    one, two, three = together(desk, 3, "registry")
    forged = type(desk.key("shop"))(desk.key("registry").key_id, desk.key("shop").key, 1)
    frames = [desk.frame(message_id="a"), desk.frame(message_id="b")]
    for frame, headers in zip(frames, signature_headers(frames, forged, desk.now), strict=True):
        assert desk.judge(came(frame, headers=headers)) == "bad-signature"
    assert desk.judge(came(one)) == "service registry"
    with key_ring.opened(desk.folder, NOW) as ring:
        ring.retire(ring.signing("registry"))
    desk.verifier.keys._keys.look()
    assert desk.judge(came(two)) == "unknown-key"
    # Another key under the same id: what was verified with the first is not verified with this one.
    with key_ring.opened(desk.folder, NOW) as ring:
        ring.create("registry", SenderKind.SERVICE, ())
    entry = read_public(trusted_path(desk.folder))[-1]
    others = [one for one in read_public(trusted_path(desk.folder)) if one.kid != entry.kid]
    signature = read(three.headers[SIGNATURE], three.headers[CLAIMS])
    write_public(trusted_path(desk.folder), (*others, entry.model_copy(update={"kid": signature.key_id})))
    desk.verifier.keys._keys.look()
    assert desk.judge(came(three)) == "bad-signature"


def test_one_of_several_is_expired_and_replayed_like_any(desk: Desk) -> None:
    one, two, three = together(desk, 3)
    assert desk.judge(came(one)) == "service orchestrator"
    desk.now += WINDOW + 1
    assert desk.judge(came(one)) == "replayed"
    assert desk.judge(came(two)) == "service orchestrator"
    desk.now += MAX_AGE
    assert desk.judge(came(three)) == "expired"
    assert desk.judge(came(desk.endorsed(three))) == "service orchestrator"


def test_a_shared_signature_endorses_nothing(desk: Desk) -> None:
    frames = [desk.sent(message_id="a"), desk.sent(message_id="b")]
    headers = signature_headers(frames, desk.key("dead_letters"), desk.now)
    stolen = {**frames[0].headers, ENDORSEMENT: headers[0][SIGNATURE], CLAIMS: headers[0][CLAIMS]}
    assert desk.judge(came(frames[0], headers=stolen)) == "bad-signature"


def test_only_so_many_shared_signatures_are_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.runtime.security.verifying.SHARED", 5)
    for _ in range(12):
        desk.now += 1
        for frame in together(desk, 2):
            assert desk.judge(came(frame)) == "service orchestrator"
        assert 1 <= len(desk.verifier._shared) <= 5
