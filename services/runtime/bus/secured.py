"""A bus that signs and encrypts what it sends, and verifies and decrypts what it takes, around any bus.

What cannot be verified or decrypted becomes a dead letter as it came, with the reason, and is counted. Queues that are
``sealed`` are handed over unopened: ``opener_of(bus)`` opens such a copy.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from contracts.topology import Exchange, Queue
from services.runtime.bus.base import (
    Bus,
    BusError,
    BusUnavailable,
    Delivery,
    Frame,
    Receive,
)
from services.runtime.bus.bus_around import BusAround
from services.runtime.bus.delivery_around import DeliveryAround
from services.runtime.security.encryption import Cipher, Undecryptable, is_encrypted
from services.runtime.security.encryption_keys import BadEncryptionKeys
from services.runtime.security.principal import Principal
from services.runtime.security.signatures import ENDORSEMENT, SIGNATURE
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.security.verifying import Refused, Verifier, endorsement_of, signature_headers

log = structlog.get_logger(__name__)

PAUSE = 0.5  # seconds before a message is given back that cannot be moved to the dead letters now


class OpenedDelivery(DeliveryAround):
    """A delivery whose signature was verified and whose body is plain. It settles through the one that came: what is
    moved to the dead letters is what came, encrypted and signed as it was."""

    __slots__ = ("_body", "_signer")

    def __init__(self, came: Delivery, body: bytes, signer: Principal | None) -> None:
        super().__init__(came)
        self._body = body
        self._signer = signer

    @property
    def body(self) -> bytes:
        return self._body

    @property
    def signer(self) -> Principal | None:
        return self._signer


class Opener:
    """Verifies and decrypts.

    Args:
        verifier: None where signatures are not looked at.
        cipher: None where nothing is decrypted.
        encrypted_only: what is not encrypted is refused.
    """

    def __init__(
        self, verifier: Verifier | None = None, cipher: Cipher | None = None, *, encrypted_only: bool = False
    ) -> None:
        self._verifier = verifier
        self._cipher = cipher
        self._encrypted_only = encrypted_only

    def open(self, delivery: Delivery, *, remember: bool = False) -> OpenedDelivery:
        """
        Args:
            remember: it is taken to be acted upon, so it must be neither too old nor a replay. A copy for the record,
                which somebody else acts upon, may be both.

        Raises:
            Refused: with the reason.
        """
        signer = None if self._verifier is None else self._verifier.verify(delivery, copy=not remember)
        return OpenedDelivery(delivery, self._decrypted(delivery.body), signer)

    def _decrypted(self, body: bytes) -> bytes:
        if self._cipher is None:
            return body
        if not is_encrypted(body):
            if self._encrypted_only:
                raise Refused("undecryptable", "it is not encrypted, and MESSAGE_ENCRYPTION is required here")
            return body
        try:
            return self._cipher.decrypt(body)
        except Undecryptable as error:
            raise Refused("undecryptable", str(error)) from None


class SecuredBus(BusAround):
    """Signs and encrypts what goes to the bus within, verifies and decrypts what comes from it.

    Args:
        keys: to sign with; None to send without signatures.
        cipher: to encrypt with; None to send as it is.
        clock: epoch seconds.
    """

    def __init__(
        self,
        inner: Bus,
        opener: Opener,
        *,
        keys: SigningKeys | None = None,
        cipher: Cipher | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(inner)
        self.opener = opener
        self.refused: Counter[str] = Counter()
        """How many messages were refused since the start, by reason."""
        self._keys = keys
        self._cipher = cipher
        self._clock = clock

    async def publish(self, frames: Sequence[Frame]) -> None:
        await self.inner.publish(self._signed([self._encrypted(frame) for frame in frames]))

    async def publish_again(self, frame: Frame) -> None:
        """Publish a dead letter's message as it was. Where it is signed it is endorsed: its age is no fault then."""
        if self._keys is not None and SIGNATURE in frame.headers:
            endorsement = endorsement_of(frame, self._keys.current, self._clock())
            frame = _with_headers(frame, {ENDORSEMENT: endorsement})
        await self.inner.publish([frame])

    def _encrypted(self, frame: Frame) -> Frame:
        if self._cipher is None or _passes_as_it_is(frame) or is_encrypted(frame.body):
            return frame
        try:
            body = self._cipher.encrypt(frame.body)
        except BadEncryptionKeys as error:
            raise BusUnavailable(f"{frame.type} cannot be encrypted: {error}") from error
        return replace(frame, body=body)

    def _signed(self, frames: list[Frame]) -> list[Frame]:
        own = [place for place, frame in enumerate(frames) if not _passes_as_it_is(frame)]
        if self._keys is not None and own:
            headers = signature_headers([frames[place] for place in own], self._keys.current, self._clock())
            for place, more in zip(own, headers, strict=True):
                frames[place] = _with_headers(frames[place], more)
        return frames

    def around(self, queue: Queue, receive: Receive) -> Receive:
        if queue.sealed:
            return receive
        opener = self.opener

        async def open_and_receive(delivery: Delivery) -> None:
            try:
                opened = opener.open(delivery, remember=True)
            except Refused as refused:
                await self._refuse(delivery, refused)
                return
            await receive(opened)

        return open_and_receive

    async def _refuse(self, delivery: Delivery, refused: Refused) -> None:
        try:
            await delivery.dead_letter(refused.reason, refused.detail)
        except BusError as error:
            log.warning("refused message cannot be moved to the dead letters now, given back", error=str(error))
            await asyncio.sleep(PAUSE)
            await delivery.retry()
            return
        self.refused[refused.reason] += 1
        log.warning(
            "message refused",
            queue=delivery.queue,
            reason=refused.reason,
            detail=refused.detail,
            type=delivery.type,
            message_id=delivery.message_id,
            refused_for_it=self.refused[refused.reason],
        )


def _passes_as_it_is(frame: Frame) -> bool:
    """Somebody else's message, that is passed on."""
    return SIGNATURE in frame.headers or frame.address.exchange is Exchange.DEAD


def _with_headers(frame: Frame, more: Mapping[str, str]) -> Frame:
    """Field by field: ``replace`` takes four times as long, and this is done for every message."""
    headers = {**frame.headers, **more}
    return Frame(frame.address, frame.body, frame.type, frame.message_id, frame.correlation_id, frame.reply_to, headers)


async def publish_again(bus: Bus, frame: Frame) -> None:
    """Publish a dead letter's message as it was, through whichever bus.

    Raises:
        UnroutableMessage, BusUnavailable: as the bus says.
    """
    again = getattr(bus, "publish_again", None)  # a bus may stand inside another
    await (bus.publish([frame]) if again is None else again(frame))


def opener_of(bus: Bus) -> Opener:
    """What opens the bus's sealed deliveries; of a bus without signatures and encryption, one that changes nothing."""
    opener = getattr(bus, "opener", None)
    return opener if isinstance(opener, Opener) else Opener()
