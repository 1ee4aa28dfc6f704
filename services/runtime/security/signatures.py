"""A message's signature: a JWS (RFC 7515) in the compact form, made with Ed25519. Pure.

Its payload is not in it: it is the message's body, exactly as it travels (detached, RFC 7515 appendix F, and not
encoded, RFC 7797). So what is signed is ``HEADER.`` and then the body, where HEADER is the first part of the signature,
and the signature reads ``HEADER..SIGNATURE``.

Messages that are sent together share one: its header has the SHA-256 of each (``batch``), what is signed is ``HEADER.``
alone, and what is claimed of each travels in a message header of its own. Whoever takes several verifies once.

joserfc reads the keys. Its own writer of the compact form puts some payloads into it, takes no bytes that are not
UTF-8, and bounds the payload, so these few lines of form are here; tests have joserfc read what they write.
"""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from joserfc.jwk import OKPKey
from pydantic_core import from_json

from services.runtime.security.ed25519 import PrivateKey, PublicKey

SIGNATURE = "conclave-signature"  # the message header that it travels in
CLAIMS = "conclave-claims"  # beside it, where it is shared: what is claimed of this one
ENDORSEMENT = "conclave-endorsement"
ALGORITHM = "EdDSA"
LONGEST = 8_192  # characters; ids of 200 characters each, every one of them escaped in JSON, fit in

LATEST = 2**53 - 1  # seconds: JSON has integers that no float holds, and none could be subtracted from the time

_FORM = re.compile(r"([A-Za-z0-9_-]+)\.\.([A-Za-z0-9_-]{86})")


class Malformed(ValueError):
    """What stands where a signature should be is none; the message says why."""


class Claims(NamedTuple):
    """What is signed beside the body. ``to`` is ``EXCHANGE/ROUTING KEY``; ``issued_at`` is epoch seconds. ``endorses``
    is true of a second signature that stands for the first one's age."""

    message_id: str
    issued_at: int
    to: str
    type: str
    reply_to: str = ""
    correlation_id: str = ""
    endorses: bool = False


class SigningKey:
    """A private key, ready to sign: what is the same in every header is prepared."""

    __slots__ = ("_header", "_private", "issued_at", "key", "key_id")

    def __init__(self, key_id: str, key: OKPKey, issued_at: int) -> None:
        self.key_id = key_id
        self.key = key
        self._private = PrivateKey(key)
        self.issued_at = issued_at
        fixed = {"alg": ALGORITHM, "kid": key_id, "b64": False, "crit": ["b64"]}
        self._header = json.dumps(fixed, separators=(",", ":"))[:-1] + ","

    def sign(self, content: bytes) -> bytes:
        return self._private.sign(content)

    def header(self, claims: Claims) -> str:
        return f'{self._header}"iat":{claims.issued_at:d},{_named(claims)}}}'

    def shared_header(self, issued_at: int, digests: Sequence[str]) -> str:
        listed = '","'.join(digests)
        return f'{self._header}"iat":{issued_at:d},"batch":["{listed}"]}}'


class Signature(NamedTuple):
    """A signature that was read, and not verified yet. ``protected`` is its header as it was signed; ``batch`` the
    digests of the messages that share it, if they do, and ``own`` what is claimed of this one, as it came."""

    key_id: str
    claims: Claims
    protected: bytes
    value: bytes
    batch: frozenset[str] | None = None
    own: str = ""


def sign(body: bytes, claims: Claims, key: SigningKey) -> str:
    """The text for the message header.

    Raises:
        ValueError: an id or an address so long that nobody would read it.
    """
    return _sealed(key.header(claims), body, key)


def sign_together(messages: Sequence[tuple[bytes, Claims]], key: SigningKey) -> tuple[str, list[str]]:
    """One signature of several bodies, all made at the time of the first, and the text of each one's claims.

    Raises:
        ValueError: they are so many that nobody would read it.
    """
    own = [f"{{{_named(claims)}}}" for _, claims in messages]
    digests = [_digest(text.encode(), body) for text, (body, _) in zip(own, messages, strict=True)]
    return _sealed(key.shared_header(messages[0][1].issued_at, digests), b"", key), own


def read(text: object, own: object = None) -> Signature:
    """
    Args:
        own: the message's own claims, which a shared signature needs.

    Raises:
        Malformed: it is no detached JWS of ours, or says of itself what it must not.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= LONGEST else None
    if found is None:
        raise Malformed("it is no detached JWS: expected HEADER..SIGNATURE in base64url, of 64 bytes")
    header = _object(_decoded(found[1]), "its header")
    if header.get("alg") != ALGORITHM:
        raise Malformed(f"its algorithm is {header.get('alg')!r}, and only {ALGORITHM} is taken")
    if header.get("b64") is not False or header.get("crit") != ["b64"]:
        raise Malformed('its header must say "b64": false and "crit": ["b64"]')
    issued_at = header.get("iat")
    if type(issued_at) is not int or not 0 <= issued_at <= LATEST:
        raise Malformed("its iat is no time: it must be whole seconds since 1970")
    key_id, protected, value = _text(header, "kid"), found[1].encode(), _decoded(found[2])
    if "batch" not in header:
        return Signature(key_id, _claims(header, issued_at), protected, value)
    batch = header["batch"]
    if not isinstance(batch, list) or not all(isinstance(digest, str) for digest in batch):
        raise Malformed("its batch must be a list of digests")
    nobody = Claims("", issued_at, "", "")
    return shared_by(Signature(key_id, nobody, protected, value, frozenset(batch)), own)


def shared_by(signature: Signature, own: object) -> Signature:
    """The shared signature, as the message with these claims has it.

    Raises:
        Malformed: they are no claims.
    """
    if not isinstance(own, str) or len(own) > LONGEST:
        raise Malformed(f"it is of several messages, and the header {CLAIMS} of this one is missing or too long")
    try:
        claimed = own.encode()
    except UnicodeEncodeError:
        raise Malformed(f"{CLAIMS} is no text") from None
    claims = _claims(_object(claimed, CLAIMS), signature.claims.issued_at)
    return signature._replace(claims=claims, own=own)


def covers(signature: Signature, body: bytes) -> bool:
    """Whether a shared signature is of this message too. Any other is of whichever it verifies."""
    return signature.batch is None or _digest(signature.own.encode(), body) in signature.batch


def verify(signature: Signature, body: bytes, key: PublicKey) -> bool:
    """Whether the holder of ``key`` signed this body with these claims."""
    if not covers(signature, body):
        return False
    signed = body if signature.batch is None else b""
    return key.verifies(signature.value, signature.protected + b"." + signed)


def _sealed(header: str, body: bytes, key: SigningKey) -> str:
    protected = urlsafe_b64encode(header.encode()).rstrip(b"=")
    if len(protected) > LONGEST - 88:
        raise ValueError("the ids and the address of a message are too long to be signed")
    value = urlsafe_b64encode(key.sign(protected + b"." + body)).rstrip(b"=")
    return (protected + b".." + value).decode()


def _named(claims: Claims) -> str:
    """The members of a JSON object, put together by hand: this is done for every message."""
    message_id, _, to, kind, reply_to, correlation_id, endorses = claims
    optional = f',"reply_to":{quoted(reply_to)}' if reply_to else ""
    if correlation_id:
        optional += f',"correlation_id":{quoted(correlation_id)}'
    if endorses:
        optional += ',"endorses":true'
    return f'"jti":{quoted(message_id)},"to":{quoted(to)},"typ":{quoted(kind)}{optional}'


def _digest(own: bytes, body: bytes) -> str:
    """Claims are one JSON object, so it is plain where they end."""
    return urlsafe_b64encode(hashlib.sha256(own + b"." + body).digest()).rstrip(b"=").decode()


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        found = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise Malformed(f"{what} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Malformed(f"{what} is no JSON object")
    return found


def _claims(named: dict[str, Any], issued_at: int) -> Claims:
    endorses = named.get("endorses", False)
    if not isinstance(endorses, bool):
        raise Malformed(f"its endorses is {endorses!r}, and must be true or false")
    return Claims(
        message_id=_text(named, "jti"),
        issued_at=issued_at,
        to=_text(named, "to"),
        type=_text(named, "typ"),
        reply_to=_text(named, "reply_to") if "reply_to" in named else "",
        correlation_id=_text(named, "correlation_id") if "correlation_id" in named else "",
        endorses=endorses,
    )


def _text(header: dict[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str):
        raise Malformed(f"its {name} is {value!r}, and must be a text")
    return value


def _decoded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Malformed("it is not base64url: a part of it has a length that none has") from None
