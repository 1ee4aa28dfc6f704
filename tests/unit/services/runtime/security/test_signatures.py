import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from services.runtime.security.ed25519 import PublicKey
from services.runtime.security.signatures import LONGEST, Claims, Malformed, SigningKey, read, sign, verify

KEY = SigningKey("edge-1", OKPKey.generate_key("Ed25519"), 1)
PUBLIC = PublicKey(KEY.key)
OTHER = PublicKey(OKPKey.generate_key("Ed25519"))
CLAIMS = Claims("m-1", 1_800_000_000, "conclave.commands/execution.start", "execution.start.v1")
ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
claims = st.builds(
    Claims,
    message_id=texts,
    issued_at=st.integers(0, 2**40),
    to=texts,
    type=texts,
    reply_to=texts,
    correlation_id=texts,
    endorses=st.booleans(),
)


def header_of(**changes: object) -> str:
    """A signature's text with another header, whatever its value is worth."""
    header = {"alg": "EdDSA", "kid": "k", "b64": False, "crit": ["b64"], "jti": "m", "iat": 1, "to": "x/y", "typ": "t"}
    header = {name: value for name, value in (header | changes).items() if value is not ...}
    return encoded(json.dumps(header).encode())


def encoded(header: bytes) -> str:
    return f"{urlsafe_b64encode(header).rstrip(b'=').decode()}..{'A' * 86}"


@given(st.binary(max_size=300), claims)
def test_what_was_signed_verifies_and_says_what_was_claimed(body: bytes, claimed: Claims) -> None:
    signature = read(sign(body, claimed, KEY))
    assert (signature.key_id, signature.claims) == ("edge-1", claimed)
    assert verify(signature, body, PUBLIC)
    assert not verify(signature, body, OTHER)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_no_changed_byte_of_the_body_verifies(body: bytes, data: st.DataObject) -> None:
    signature = read(sign(body, CLAIMS, KEY))
    at = data.draw(st.integers(0, len(body) - 1))
    changed = bytes([body[at] ^ data.draw(st.integers(1, 255))])
    assert not verify(signature, body[:at] + changed + body[at + 1 :], PUBLIC)
    assert not verify(signature, body + b" ", PUBLIC)
    assert not verify(signature, body[:-1], PUBLIC)


@given(st.data())
@settings(max_examples=300)
def test_no_changed_character_of_a_signature_says_anything_else(data: st.DataObject) -> None:
    text = sign(b"{}", CLAIMS, KEY)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from("AZaz09-_.=+/\n\0é")) + text[at + 1 :]
    try:
        signature = read(changed)
    except Malformed:
        return
    # The last character has bits that stand for nothing: another text, and the same signature.
    original = read(text)
    same = (signature.protected, signature.value) == (original.protected, original.value)
    assert verify(signature, b"{}", PUBLIC) is same


@given(
    st.text(max_size=200)
    | st.builds(encoded, st.binary(max_size=100))
    | st.from_regex(r"[A-Za-z0-9_-]{1,60}\.\.[A-Za-z0-9_-]{86}", fullmatch=True)
)
def test_anything_else_is_malformed_and_nothing_worse(text: str) -> None:
    with pytest.raises(Malformed):
        read(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alg": "none"}, "only EdDSA"),
        ({"alg": "HS256"}, "only EdDSA"),
        ({"alg": ["EdDSA"]}, "only EdDSA"),
        ({"b64": True}, '"b64": false'),
        ({"b64": ...}, '"b64": false'),
        ({"b64": 0}, '"b64": false'),
        ({"crit": ...}, '"crit"'),
        ({"crit": ["b64", "exp"]}, '"crit"'),
        ({"kid": ...}, "kid"),
        ({"kid": 7}, "kid"),
        ({"jti": ...}, "jti"),
        ({"to": None}, "to"),
        ({"typ": {}}, "typ"),
        ({"reply_to": 1}, "reply_to"),
        ({"correlation_id": None}, "correlation_id"),
        ({"iat": ...}, "iat"),
        ({"iat": "1"}, "iat"),
        ({"iat": 1.5}, "iat"),
        ({"iat": float("nan")}, "not JSON"),
        ({"iat": True}, "iat"),
        ({"iat": -1}, "iat"),
        ({"iat": 10**400}, "iat"),
        ({"endorses": "yes"}, "endorses"),
    ],
)
def test_a_header_that_says_what_it_must_not_is_malformed(changes: dict[str, object], words: str) -> None:
    with pytest.raises(Malformed, match=words):
        read(header_of(**changes))


@pytest.mark.parametrize(
    "text",
    [
        encoded(b"[1]"),
        encoded(b'"text"'),
        encoded(b"\xff"),
        encoded(b"[" * 3_000),
        header_of().replace("..", ".e30."),  # the payload in it
        header_of()[:-1],
        header_of() + "A",
        header_of(jti="x" * LONGEST),
        header_of().replace("..", "==.."),
        *(header_of().replace(".", "A" * more + ".", 1) for more in (1, 2, 3)),
        "",
        7,
        None,
    ],
)
def test_what_has_another_form_is_malformed(text: object) -> None:
    with pytest.raises(Malformed):
        read(text)  # type: ignore[arg-type]


def test_a_header_that_one_may_read_is_read() -> None:
    assert read(header_of(more="ignored")).claims == Claims("m", 1, "x/y", "t")


def test_what_is_too_long_to_be_read_is_not_signed() -> None:
    longest = sign(b"", CLAIMS._replace(message_id="\N{ABACUS}" * 200, correlation_id="\N{ABACUS}" * 200), KEY)
    assert verify(read(longest), b"", PUBLIC)
    with pytest.raises(ValueError, match="too long"):
        sign(b"", CLAIMS._replace(message_id="m" * 8_000), KEY)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_joserfc_alone_reads_what_is_signed_here_and_signs_what_is_read_here() -> None:
    body = b'{"id": "m-1"}'
    algorithms = jws.JWSRegistry(
        algorithms=["EdDSA"],
        strict_check_header=False,
    )
    text = sign(body, CLAIMS, KEY)
    theirs = jws.deserialize_compact(text, KEY.key, registry=algorithms, payload=body)
    assert theirs.headers()["to"] == CLAIMS.to

    header = json.loads(urlsafe_b64decode(text.split(".")[0] + "=="))
    signed = jws.serialize_compact(header, body, KEY.key, registry=algorithms)
    signature = read(signed)  # joserfc detaches a payload that is not all of URL-safe characters
    assert signature.claims == CLAIMS
    assert verify(signature, body, PUBLIC)


def test_a_signature_has_one_value_only() -> None:
    """S and S plus the order of the group satisfy the same equation; only the smaller is a signature."""
    signature = read(sign(b"{}", CLAIMS, KEY))
    point, scalar = signature.value[:32], int.from_bytes(signature.value[32:], "little")
    assert not verify(signature._replace(value=point + (scalar + ORDER).to_bytes(32, "little")), b"{}", PUBLIC)
