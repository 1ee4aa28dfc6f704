"""Whether a message is what its signature says: by whom, unchanged, to where it came, in time, and for the first time.

What a refusal is called is a key of the dead letters (``topology.DEAD_LETTER_REASONS``).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from contracts import topology
from contracts.topology import Address, Exchange
from services.runtime.bus.base import Delivery, Frame
from services.runtime.bus.topic_routing import topic_matches
from services.runtime.security.ed25519 import PublicKey
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.security.replays import Replays
from services.runtime.security.signatures import (
    CLAIMS,
    ENDORSEMENT,
    SIGNATURE,
    Claims,
    Malformed,
    Signature,
    SigningKey,
    covers,
    read,
    shared_by,
    sign,
    sign_together,
    verify,
)
from services.runtime.security.trusted_keys import TrustedKeys

TOGETHER = 16  # messages that share a signature, at most: each brings 58 characters into all of them
SHARED = 1_000  # shared signatures that are known to be right
AHEAD = 60  # seconds that another machine's clock may be ahead
ENDORSER = "dead_letters"


class Refused(Exception):
    """A message that is not taken; ``reason`` is the dead-letter key it goes under, ``detail`` says why in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def endorsement_of(frame: Frame, key: SigningKey, now: float) -> str:
    return sign(frame.body, _claims_of(frame, int(now))._replace(endorses=True), key)


def signature_headers(frames: Sequence[Frame], key: SigningKey, now: float) -> list[dict[str, str]]:
    """What is to be added to the headers of each of these messages, which are about to be sent together."""
    if len(frames) == 1:
        (frame,) = frames
        return [{SIGNATURE: sign(frame.body, _claims_of(frame, int(now)), key)}]
    headers: list[dict[str, str]] = []
    for begin in range(0, len(frames), TOGETHER):
        some = frames[begin : begin + TOGETHER]
        signature, own = sign_together([(frame.body, _claims_of(frame, int(now))) for frame in some], key)
        headers += ({SIGNATURE: signature, CLAIMS: text} for text in own)
    return headers


def _claims_of(frame: Frame, now: int) -> Claims:
    to = in_claims(frame.address.exchange.value, frame.address.key)
    return Claims(frame.message_id, now, to, frame.type, frame.reply_to, frame.correlation_id)


def in_claims(exchange: str, key: str) -> str:
    return f"{exchange}/{key}"


@dataclass(frozen=True, slots=True)
class Verifier:
    """``required``: a message without a signature is refused. ``max_age``: seconds after which a signature is too old.
    ``clock``: epoch seconds."""

    keys: TrustedKeys
    replays: Replays
    max_age: float
    required: bool
    clock: Callable[[], float] = time.time
    _shared: dict[str, tuple[Signature, PublicKey]] = field(default_factory=dict, repr=False)

    def verify(self, delivery: Delivery, *, copy: bool = False) -> Principal | None:
        """Who sent it; None where it has no signature and needs none.

        ``copy``: it is for the record and somebody else acts upon it. Its age, whether it came before, and to where
        the broker moved it after it died are not judged then.

        Raises:
            Refused: with the reason.
        """
        headers = delivery.headers
        text = headers.get(SIGNATURE)
        if text is None:
            if self.required:
                raise Refused("unsigned", f"it has no header {SIGNATURE}, and MESSAGE_SIGNING is required here")
            return None
        now = self.clock()
        signature, principal = self._verified(text, headers.get(CLAIMS), delivery.body, now, SIGNATURE)
        if (endorsement := headers.get(ENDORSEMENT)) is not None:
            dated = self._endorsed(signature, endorsement, delivery, now)
        else:
            dated = signature
            _check_claims(signature.claims, delivery, delivery.reply_to)
        _check_address(signature.claims, delivery, copy=copy)
        if not copy:
            self._check_time(dated, delivery, now)
        return principal

    def _verified(
        self, text: str, own: str | None, body: bytes, now: float, header: str
    ) -> tuple[Signature, Principal]:
        # Over Redis a header may be anything that JSON can say.
        known = self._shared.get(text) if isinstance(text, str) else None
        try:
            signature = read(text, own) if known is None else shared_by(known[0], own)
        except Malformed as error:
            raise Refused("bad-signature", f"{header}: {error}") from None
        trusted = self.keys.find(signature.key_id)
        if trusted is None:
            raise Refused("unknown-key", f"{header}: key {signature.key_id!r} is not trusted")
        if trusted.expires_at is not None and trusted.expires_at <= now:
            why = f"key {signature.key_id!r} of {trusted.principal} is not valid any more"
            raise Refused("unknown-key", f"{header}: {why}")
        is_known = known is not None and known[1] is trusted.key
        if not (covers(signature, body) if is_known else verify(signature, body, trusted.key)):
            raise Refused("bad-signature", f"{header}: altered, or not signed with key {signature.key_id!r}")
        if signature.batch is not None and not is_known:
            self._remember(text, signature, trusted.key)
        if signature.claims.endorses is not (header == ENDORSEMENT):
            raise Refused("bad-signature", f"{header}: a signature and an endorsement cannot stand for each other")
        return signature, trusted.principal

    def _remember(self, text: str, signature: Signature, key: PublicKey) -> None:
        """Its other messages, which come soon, need not verify it again."""
        if len(self._shared) >= SHARED:
            self._shared.clear()
        self._shared[text] = signature, key

    def _endorsed(self, first: Signature, text: str, delivery: Delivery, now: float) -> Signature:
        """The endorsement, which is what a replayed dead letter is dated by."""
        endorsement, endorser = self._verified(text, None, delivery.body, now, ENDORSEMENT)
        if endorser.kind is not SenderKind.SERVICE or endorser.name != ENDORSER:
            raise Refused("forbidden-sender", f"{ENDORSEMENT}: {endorser} may not endorse, only service {ENDORSER}")
        if endorsement.claims.to != first.claims.to:
            raise Refused(
                "bad-signature", f"endorsed for {endorsement.claims.to}, and was signed for {first.claims.to}"
            )
        _check_claims(endorsement.claims, delivery, delivery.reply_to)
        # Nobody waits for the answer any more, so a replayed letter asks for none.
        _check_claims(first.claims, delivery, delivery.reply_to or first.claims.reply_to)
        return endorsement

    def _check_time(self, dated: Signature, delivery: Delivery, now: float) -> None:
        age = now - dated.claims.issued_at
        if age > self.max_age:
            raise Refused("expired", f"it was signed {age:.0f} s ago, and MESSAGE_MAX_AGE is {self.max_age:.0f}")
        if age < -AHEAD:
            raise Refused("expired", f"it says that it was signed {-age:.0f} s from now")
        redelivered = delivery.redeliveries > 0
        if self.replays.is_replay(delivery.queue, dated.protected + dated.own.encode(), now, redelivered=redelivered):
            raise Refused(
                "replayed", f"message {delivery.message_id!r} came before, and its time to be repeated is over"
            )


def _check_claims(claims: Claims, delivery: Delivery, reply_to: str) -> None:
    facts = (
        ("message id", claims.message_id, delivery.message_id),
        ("type", claims.type, delivery.type),
        ("correlation id", claims.correlation_id, delivery.correlation_id),
        ("reply_to", claims.reply_to, reply_to),
    )
    for name, signed_as, found in facts:
        if signed_as != found:
            raise Refused("bad-signature", f"its {name} is {found!r}, and was signed as {signed_as!r}")


def _check_address(claims: Claims, delivery: Delivery, *, copy: bool) -> None:
    came_to = in_claims(delivery.exchange, delivery.routing_key)
    if claims.to == came_to or (copy and delivery.exchange == Exchange.DEAD) or _was_moved(claims.to, delivery):
        return
    raise Refused("bad-signature", f"it came to {came_to}, and was signed for {claims.to}")


def _was_moved(signed_for: str, delivery: Delivery) -> bool:
    """Whether the broker itself may have brought it here, after its delivery limit in a queue of that address."""
    if delivery.exchange != Exchange.DEAD or not delivery.died_in:
        return False
    return any(_takes(origin, signed_for) for origin in topology.crashed_from(delivery.routing_key))


def _takes(binding: Address, signed_for: str) -> bool:
    exchange, _, key = signed_for.partition("/")
    return exchange == binding.exchange and topic_matches(binding.key, key)
