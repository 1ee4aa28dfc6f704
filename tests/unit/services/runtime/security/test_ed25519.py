"""Ed25519 against the vectors of RFC 8032, section 7.1, and against OpenSSL."""

from base64 import urlsafe_b64encode

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from services.runtime.security.ed25519 import PrivateKey, PublicKey

VECTORS = [  # the secret, the public key, the message, the signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe246"
        "55141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb"
        "00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc"
        "027beceea1ec40a",
    ),
]
KEY = OKPKey.generate_key("Ed25519")


def text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc(secret: str, public: str, message: str, signature: str) -> None:
    x = text(bytes.fromhex(public))
    whole = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x, "d": text(bytes.fromhex(secret))})
    content, made = bytes.fromhex(message), bytes.fromhex(signature)
    assert PrivateKey(whole).sign(content) == made
    half = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
    for key in (PublicKey(whole), PublicKey(half)):
        assert key.verifies(made, content)
        assert not key.verifies(made, content + b"\0")
        assert not key.verifies(made[:-1] + bytes([made[-1] ^ 1]), content)


@given(st.binary(max_size=300), st.binary(min_size=64, max_size=64))
def test_openssl_agrees(content: bytes, anything: bytes) -> None:
    private, public = KEY.private_key, KEY.public_key
    made = PrivateKey(KEY).sign(content)
    assert made == private.sign(content)  # type: ignore[union-attr, call-arg]
    public.verify(made, content)  # type: ignore[union-attr, call-arg]
    with pytest.raises(InvalidSignature):
        public.verify(anything, content)  # type: ignore[union-attr, call-arg]
    assert not PublicKey(KEY).verifies(anything, content)


def test_a_point_of_small_order_signs_nothing() -> None:
    """With such a key one signature fits many messages."""
    for point in (b"\1" + b"\0" * 31, b"\0" * 32):
        key = PublicKey(OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": text(point)}))
        assert not key.verifies(point + b"\0" * 32, b"anything")


@pytest.mark.parametrize(
    "key",
    [OKPKey.import_key(KEY.as_dict(private=False)), OKPKey.generate_key("X25519")],
    ids=["public half", "another curve"],
)
def test_what_cannot_sign_is_refused(key: OKPKey) -> None:
    with pytest.raises(ValueError, match="no Ed25519 key with its private half"):
        PrivateKey(key)
